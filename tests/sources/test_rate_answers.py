"""Rates from any address: files of the ECB over HTTP, addresses with a key, and what a failing source may say."""

import json
from datetime import date
from typing import Any

import pytest
from loguru import logger
from pydantic import SecretStr

from tests.conftest import RATES
from tests.sources.rate_renderings import Table, ecb_csv, ecb_xml
from tests.support import payloads
from tests.support.upstream import Answer, body, document, html, status

KEY, IN_URL = "hush-hush/k3y+", "hush-hush%2Fk3y%2B"
TABLE = Table("EUR", date(2026, 11, 20), {"USD": "1.1172", "JPY": "175.68", "BTC": "0.00001"})


@pytest.mark.parametrize("answer", [body(ecb_xml(TABLE).encode()), body(b"\xef\xbb\xbf" + ecb_csv(TABLE).encode())])
async def test_file_of_the_ecb_is_stored_as_rates_per_dollar_under_its_day(client, upstream, answer):
    upstream.answers[RATES] = answer

    report = (await client.post("/countries/refresh")).json()
    rates = (await client.get("/rates?symbols=EUR,JPY")).json()

    assert (report["rates_date"], report["sources"]["rates"]) == ("2026-11-20", "127.0.0.1")
    assert (rates["date"], rates["rates"]) == ("2026-11-20", {"EUR": 0.8950948800572861, "JPY": 157.250268528464})
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


@pytest.mark.engines("sqlite")
async def test_key_of_the_setting_is_put_into_path_and_query(service, upstream):
    path = f"/v6/{IN_URL}/latest/USD"
    upstream.answers[path] = document(payloads.er_api())
    address = upstream.url("/v6/{key}/latest/USD") + "?app_id={key}"
    async with service(rate_sources=address, rate_api_key=SecretStr(KEY)) as client:
        response = await client.post("/countries/refresh")

    assert (response.status_code, response.json()["sources"]["rates"]) == (200, "127.0.0.1")
    assert [request.query for request in upstream.requests if request.path == path] == [{"app_id": KEY}]


HUSH = "hush-hush"


def refusal(code: int, **members: Any) -> Answer:
    return status(code, json.dumps(members))


ECHOES: list[tuple[Answer, str]] = [
    (refusal(401, error=True, message="invalid_app_id", description=HUSH), "answered 401: invalid_app_id"),
    (refusal(403, result="error", **{"error-type": "invalid-key"}), "answered 403: invalid-key"),
    (refusal(401, message=f"No account with {HUSH}"), "answered 401"),
    (status(422, HUSH), "answered 422"),
    (status(404, "x" * 20_000), "answered 404"),
    (document({"success": False, "error": {"code": 101, "type": HUSH}}), "answered with the error 101"),
    (document({"result": HUSH}), "answered with an error"),
    (document({"base": HUSH, "rates": {"EUR": 1}}), "answered with rates for an unknown base"),
    (document({"date": HUSH, "usd": {"eur": 1}}), "answered with an invalid date"),
    (document({HUSH: 1, "rows": 2}), "answered in an unknown format; seen: ********, rows"),
    (html(), "answered with XML or HTML that is not a known format"),
    (body(f"Date,USD\n{HUSH},1".encode()), "answered with invalid CSV in line 2"),
    (body(b"", Content_Encoding=HUSH), "answered in the encoding '********', which was not requested"),
    (body(b"", code=301, Location=f"http://{HUSH}/"), "answered 301, a redirect to another host"),
]


@pytest.mark.engines("sqlite")
async def test_key_is_in_no_answer_and_no_log_line_whatever_the_source_sends(service, upstream):
    """The first source has the key of the setting, the second has its own in its query."""
    sources = f"{upstream.url('/v6/{key}')} {upstream.url('/mine')}?access_key={HUSH}"
    lines: list[str] = []
    async with service(rate_sources=sources, rate_api_key=SecretStr(HUSH)) as client:
        sink = logger.add(lines.append, level=0)
        try:
            for answer, reason in ECHOES:
                upstream.answers |= {f"/v6/{HUSH}": answer, "/mine": answer}

                response = await client.post("/countries/refresh")

                assert response.json()["details"].endswith(f"; 127.0.0.1: {reason})")
                lines.append(response.text)
            lines += [(await client.get(path)).text for path in ("/metrics", "/audit", "/status", "/data-sources")]
        finally:
            logger.remove(sink)

    assert len(lines) > 3 * len(ECHOES)
    assert not [line for line in lines if HUSH in line]
