"""What a refresh writes at the server."""

from typing import Any

import pytest

from tests.conftest import COUNTRIES
from tests.support.statements import recorded
from tests.support.upstream import document


def synthetic(number: int) -> dict[str, Any]:
    name = f"Country {number}"
    return {
        "name": name,
        "capital": "A'b\"c",
        "region": "Africa",
        "population": number,
        "currencies": [{"code": "GHS"}],
    }


@pytest.mark.engines("mariadb")
async def test_refresh_writes_as_many_statements_whatever_the_number_of_countries(client, upstream):
    # The first refresh also inserts the rows of the lease and the summary.
    for number, inserted, most in ((1500, 1500, 11), (1500, 0, 9), (1600, 100, 10)):
        upstream.answers[COUNTRIES] = document([synthetic(each) for each in range(number)])
        with recorded(client.state["database"]) as statements:
            report = (await client.post("/countries/refresh")).json()

        assert (report["total_countries"], report["inserted"], report["skipped"]) == (number, inserted, [])
        writing = [found for found in statements if found.sql.startswith(("INSERT", "UPDATE", "DELETE"))]
        assert len(writing) <= most
        assert not any(isinstance(found.parameters, list) for found in writing)  # the driver may send several of these

    names = [country["name"] for country in (await client.get("/countries")).json()]
    assert sorted(names) == sorted(f"Country {number}" for number in range(1600))
