-- wrk asks for these in turn: a few that repeat, and many that differ, so that a cache has to let go.
local repeated = { "/countries", "/countries/ghana", "/status", "/countries/image", "/countries?region=africa&sort=gdp_desc" }
local count = 0

function request()
    count = count + 1
    if count % 10 == 0 then
        return wrk.format("GET", "/countries?limit=1000&offset=" .. count % 200000)
    end
    return wrk.format("GET", repeated[count % #repeated + 1])
end
