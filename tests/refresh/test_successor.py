"""What a refresh or a deletion leaves in memory is what another process reads from the database."""

import pytest

from tests.conftest import COUNTRIES, RATES, until_loaded
from tests.rates.conftest import add_history
from tests.support import payloads
from tests.support.statements import recorded, tables_read
from tests.support.upstream import document

PATHS = (
    "/countries",
    "/countries?format=csv",
    "/countries?decimals=string&sort=exchange_rate_asc",
    "/countries?sort=gdp_desc&limit=7&offset=3",
    "/countries?sort=population_desc&region=europe,asia",
    "/countries?q=land",
    "/countries?q=cote d'ivoire",
    "/countries/CIV?decimals=string",
    "/countries/Åland",
    "/countries/curaçao?fields=name,capital,last_refreshed_at,population_year",
    "/countries/togo",
    "/countries/narnia",
    "/countries/ghana/history",
    "/countries/image",
    "/status",
    "/data-sources",
    "/currencies",
    "/currencies/XOF",
    "/rates",
    "/rates?base=XOF&decimals=string",
    "/rates/2026-11-02",
    "/convert?from=GHS&to=XOF,EUR&amount=12.5",
    "/?format=html&q=ghana",
)


@pytest.fixture
async def processes(service):
    """Two services on one database; the second one asks for the version each time."""
    async with service(monotonic=lambda: 1000.0) as one, service(cache_revalidate_seconds=0) as other:
        yield one, other


async def shown(client) -> dict[str, tuple[object, ...]]:
    """Every answer, with all headers but the request's id."""
    answers = {path: await client.get(path) for path in PATHS}
    return {
        path: (answer.status_code, {**answer.headers, "x-request-id": ""}, answer.content)
        for path, answer in answers.items()
    }


async def test_memory_after_a_change_is_what_another_process_reads(processes, upstream):
    one, other = processes
    countries, rates = payloads.v3_1(), payloads.er_api()["rates"]
    await one.post("/countries/refresh")
    await add_history(one)
    await until_loaded(one)
    refresh, delete = ("POST", "/countries/refresh"), ("DELETE", "/countries/togo")
    more = [{**country, "population": country["population"] + 3} for country in countries]
    fewer = [country for country in more if country["cca2"] != "TG"]
    changes = [  # and whether the countries have to be read afterwards, because they got their ids from the database
        (refresh, more, rates, False),
        (delete, more, rates, False),
        (refresh, fewer, {**rates, "GHS": rates["GHS"] * 1.01}, False),
        (refresh, more, rates, True),
    ]
    for (method, path), listed, quoted, are_read in changes:
        upstream.answers[COUNTRIES] = document(listed)
        upstream.answers[RATES] = document({**payloads.er_api(), "rates": quoted})
        done = await one.request(method, path)
        with recorded(one.state["database"]) as seen:
            of_one = await shown(one)

        assert (done.status_code, "country" in tables_read(seen)) == (200, are_read)
        assert of_one == await shown(other)
        missing = {path for path, (status, _, _) in of_one.items() if status != 200}
        assert missing - {"/countries/togo"} == {"/countries/narnia"}
