"""Rates from any address: files of the ECB over HTTP, and documents that are too large."""

from datetime import date

import pytest

from tests.conftest import RATES
from tests.sources.rate_renderings import Table, ecb_csv, ecb_xml
from tests.support.upstream import body

TABLE = Table("EUR", date(2026, 11, 20), {"USD": "1.1172", "JPY": "175.68", "BTC": "0.00001"})


@pytest.mark.parametrize("answer", [body(ecb_xml(TABLE).encode()), body(b"\xef\xbb\xbf" + ecb_csv(TABLE).encode())])
async def test_file_of_the_ecb_is_stored_as_rates_per_dollar_under_its_day(client, upstream, answer):
    upstream.answers[RATES] = answer

    report = (await client.post("/countries/refresh")).json()
    rates = (await client.get("/rates?symbols=EUR,JPY")).json()

    assert (report["rates_date"], report["sources"]["rates"]) == ("2026-11-20", "127.0.0.1")
    assert (rates["date"], rates["rates"]) == ("2026-11-20", {"EUR": 0.895094880057, "JPY": 157.250268528})
    asked = next(request for request in upstream.requests if request.path == RATES)
    assert asked.headers["accept"] == "application/json, application/xml;q=0.9, text/csv;q=0.8"


@pytest.mark.engines("sqlite")
async def test_xml_of_many_attributes_is_weighed_as_many_values(service, upstream):
    many = "".join(f' a{number}=""' for number in range(25_000))
    upstream.answers[RATES] = body(ecb_xml(TABLE).replace("<Cube>", f"<Cube{many}>", 1).encode())
    async with service(upstream_max_bytes=2**20, country_sources="bundled") as client:
        response = await client.post("/countries/refresh")

    assert response.status_code == 503
    assert "(127.0.0.1: answered with more values than fit into 1,048,576 bytes)" in response.json()["details"]
