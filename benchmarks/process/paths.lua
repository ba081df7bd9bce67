-- wrk asks for these in turn: every route that needs no account, in all codings; and a tenth of addresses that never
-- repeat, so that a cache has to let go.
local paths = {
    "/", "/?format=html&q=gha", "/status", "/data-sources", "/health/live", "/health/ready", "/metrics", "/openapi.json",
    "/docs", "/countries", "/countries?format=csv", "/countries?region=africa&sort=gdp_desc", "/countries/image",
    "/countries/ghana", "/countries/ghana/history", "/rates", "/rates/latest?base=EUR", "/rates/2020-01-01..",
    "/convert?from=NGN&to=EUR&amount=100", "/currencies", "/currencies/EUR", "/users", "/tracking/sms_transfers", "/audit",
}
local codings = { "identity", "gzip", "br" }
local count = 0

function response(status)
    -- A service may refuse what is more than it can do in time, but nothing else.
    if status ~= 200 and status ~= 503 then
        print("Unexpected status " .. status)
    end
end

function request()
    count = count + 1
    local path = paths[count % #paths + 1]
    if count % 10 == 0 then
        path = "/countries?limit=1000&offset=" .. count % 200000
    end
    return wrk.format("GET", path, { ["Accept-Encoding"] = codings[count % #codings + 1] })
end
