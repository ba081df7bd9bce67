-- wrk sends another X-Request-ID with each request, as a proxy does.
local count = 0

function request()
    count = count + 1
    wrk.headers["X-Request-ID"] = string.format("%016x", count)
    return wrk.format()
end
