"""How often the database is asked: the same for 2 countries and for 250, once for all reads, and by index."""

import pytest

from tests.conftest import COUNTRIES, until_loaded
from tests.support import payloads
from tests.support.statements import recorded
from tests.support.upstream import document

LOADED = 6
"""After a refresh: the version; the same with the days of currencies, the newest days, their rates, the last rates."""

CHANGES = [
    # The summary, both changes, the audit entry; and the version, but nothing else: the rest is known.
    ("DELETE", "/countries/ghana", 4 + 1),
    # The lease (2), and again; the summary, countries, summary, the history, the day, its rates, the days of each
    # currency, audit entry.
    ("POST", "/countries/refresh", 11 + LOADED),
]
READS = [
    ("GET", "/countries", 0),
    ("GET", "/countries?region=africa&q=a&sort=gdp_desc&fields=name", 0),
    ("GET", "/countries?limit=1", 0),
    ("GET", "/countries?q=uk&limit=1&fields=name,reference_gdp", 0),
    ("GET", "/countries/ghana", 0),
    ("GET", "/countries/GH", 0),
    ("GET", "/countries/image", 0),
    ("GET", "/status", 0),
    ("GET", "/data-sources", 0),
    ("GET", "/currencies", 0),
    ("GET", "/currencies/GHS", 0),
    ("GET", "/rates", 0),
    ("GET", "/convert?from=GHS&to=XOF", 0),
    ("GET", "/?format=html&q=ghana", 0),
    ("GET", "/countries/ghana/history", 3),  # the version, the page, and the total
    ("GET", "/rates/2026-11-20", 2),  # the version with the newest days; their rates are known
    ("GET", "/rates/2026-11-20?base=EUR", 0),
]


@pytest.mark.parametrize("size", [2, 250])
async def test_number_of_statements_does_not_depend_on_the_number_of_countries(service, upstream, size):
    records = payloads.v3_1()
    records.sort(key=lambda record: record["cca2"] not in ("GH", "TG"))
    upstream.answers[COUNTRIES] = document(records[:size])
    async with service(monotonic=lambda: 1000.0) as client:
        assert (await client.post("/countries/refresh")).json()["total_countries"] == size
        await until_loaded(client)
        # So that the refresh after the deletion has nothing new to insert.
        upstream.answers[COUNTRIES] = document([r for r in records[:size] if r["cca2"] != "GH"])
        changes = [await count(client, method, path) for method, path, _ in CHANGES]
        upstream.answers[COUNTRIES] = document(records[:size])
        await client.post("/countries/refresh")
        await until_loaded(client)
        reads = [await count(client, method, path) for method, path, _ in READS]

    assert changes + reads == CHANGES + READS


async def count(client, method: str, path: str) -> tuple[str, str, int]:
    with recorded(client.state["database"]) as statements:
        response = await client.request(method, path)
        await until_loaded(client)
    assert response.status_code == 200, response.text
    return method, path, len(statements)


@pytest.mark.engines("mariadb")
@pytest.mark.parametrize("size", [2, 250])
async def test_server_executes_few_writes_in_a_refresh(client, upstream, size, mariadb):
    """Counted by the server, because the driver may send one statement as many."""
    upstream.answers[COUNTRIES] = document(payloads.v3_1()[:size])
    await client.post("/countries/refresh")

    counted = []
    for _ in range(2):
        kinds = ", ".join(f"'Com_{kind}'" for kind in ("insert", "insert_select", "update", "delete"))
        rows = mariadb.execute(f"SHOW GLOBAL STATUS WHERE Variable_name IN ({kinds})")
        counted.append(sum(int(number) for _, number in rows))
        assert (await client.post("/countries/refresh")).json()["updated"] == size

    # The lease (2), countries, summary, history, the day, its rates, the days of each currency, audit entry.
    assert counted[1] - counted[0] == 9
