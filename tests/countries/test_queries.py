"""How often the database is asked: the same for 2 countries and for 250, and by index where one row is wanted."""

import re

import pytest

from app.core.db.database import Database
from tests.conftest import COUNTRIES
from tests.support import payloads
from tests.support.statements import explained, recorded
from tests.support.upstream import document

VERSION = 1
"""Statements in front of each answer that may be kept: 1 where a cache asks for the version of the data."""

REQUESTS = [
    ("GET", "/countries", VERSION + 1),
    ("GET", "/countries?region=africa&q=a&sort=gdp_desc&fields=name", VERSION + 1),
    ("GET", "/countries?limit=1", VERSION + 2),  # the page, and the total
    ("GET", "/countries?q=uk&limit=1&fields=name,reference_gdp", VERSION + 2),
    ("GET", "/countries/ghana", VERSION + 1),
    ("GET", "/countries/GH", VERSION + 1),
    ("GET", "/countries/image", VERSION + 1),
    ("GET", "/countries/ghana/history", VERSION + 3),  # the country, the page, and the total
    ("GET", "/status", VERSION + 1),
    ("GET", "/currencies", VERSION + 2),  # days, and countries
    ("GET", "/currencies/GHS", VERSION + 2),
    # Before the transaction country, summary and top five; inside of it the summary, both changes, the audit entry.
    ("DELETE", "/countries/ghana", 7),
    # The generation; the lease (2); the generation again, summary, countries and rates; the lease, the summary,
    # countries, summary, the history, the day, its rates, the days of each currency, audit entry.
    ("POST", "/countries/refresh", 16),
]


@pytest.mark.parametrize("size", [2, 250])
async def test_number_of_statements_does_not_depend_on_the_number_of_countries(client, upstream, size):
    records = payloads.v3_1()
    records.sort(key=lambda record: record["cca2"] not in ("GH", "TG"))
    upstream.answers[COUNTRIES] = document(records[:size])
    assert (await client.post("/countries/refresh")).json()["total_countries"] == size
    # So that the refresh at the end has nothing new to insert.
    upstream.answers[COUNTRIES] = document([r for r in records[:size] if r["cca2"] != "GH"])

    counted = []
    for method, path, _ in REQUESTS:
        with recorded(client.state["database"]) as statements:
            response = await client.request(method, path)
        assert response.status_code == 200, response.text
        counted.append((method, path, len(statements)))

    assert counted == REQUESTS


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


@pytest.mark.parametrize("name", ["Ghana", "GH"])
async def test_one_country_is_found_by_index(loaded, name):
    database: Database = loaded.state["database"]
    with recorded(database) as statements:
        await loaded.get(f"/countries/{name}")

    plan = await explained(database, next(found for found in statements if "FROM country" in found.sql), "country")
    either_engine = (
        r"USING INDEX ix_country_name_key .*USING INDEX sqlite_autoindex_country_1",
        r"Using union\(ix_country_name_key,uq_country_alpha2_code\)",
    )
    assert re.search("|".join(either_engine), plan, re.DOTALL), plan
