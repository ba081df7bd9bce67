"""The secrets in the address of a country source are shown nowhere, whatever the source sends."""

import json
from typing import Any

import pytest
from loguru import logger

from app.core.config.addresses import secrets_in
from tests.conftest import COUNTRIES
from tests.support.upstream import document, status

KEY = "0123456789abcdef"
LONG = "f" * 64
QUERY = f"key={KEY}&api_token=s3cr+et=KEY9&auth={LONG}"
FORMS = (KEY, "s3cr et=KEY9", "s3cr+et=KEY9", LONG[:30])
ROW: dict[str, Any] = {"name": "Ghana", "alpha2Code": "GH", "population": 5, "currency": "GHS"}
FAILURES: list[Any] = [
    document({"message": f"Invalid key: {KEY}"}),
    document({"errors": [{"message": FORMS[1]}]}),
    status(401, json.dumps({"message": KEY, "error": FORMS[2]})),
    document({f"x{KEY}": 1, f"y{LONG}": []}),
    document([{f"x{KEY}": 1, f"y{LONG}": 2}]),
    document(
        [
            {
                **{k: v for k, v in ROW.items() if k != "currency"},
                f"x{FORMS[1]}": 1,
                "name": f"N{n}",
                "alpha2Code": f"Q{chr(65 + n)}",
            }
            for n in range(12)
        ]
    ),
]
ECHOES = [
    ROW,
    {"name": f"Bad {KEY}", "population": "none"},
    {**ROW, "name": f"Twice {FORMS[1]}"},
    {**ROW, "name": f"Bulgaria {FORMS[2]}", "alpha2Code": "BG", "currency": "BGN", "capital": KEY},
    {**ROW, "name": f"Togo {LONG}", "alpha2Code": "TG", "region": KEY, "flag": f"https://flags.example/{KEY}"},
]


def test_secrets_are_found_as_they_are_written_and_decoded():
    found = ["us%65r", "user", KEY, "s3cr+et=KEY9", "s3cr et=KEY9", LONG]
    assert secrets_in(f"http://us%65r@example.com/x?{QUERY}&page=2&key={{key}}") == found


@pytest.mark.engines("sqlite")
async def test_short_value_in_the_query_changes_no_name(service, upstream):
    upstream.answers[COUNTRIES] = document([{**ROW, "name": "Suriname", "alpha2Code": "SR"}])
    async with service(country_sources=f"{upstream.url(COUNTRIES)}?sortKey=name") as client:
        await client.post("/countries/refresh")
        stored = (await client.get("/countries?fields=name")).json()

    assert stored == [{"name": "Suriname"}]


@pytest.mark.engines("sqlite")
async def test_secrets_are_in_no_answer_and_no_log_line(service, upstream):
    lines: list[str] = []
    async with service(country_sources=f"{upstream.url(COUNTRIES)}?{QUERY}") as client:
        sink = logger.add(lines.append, level=0)
        try:
            for answer in FAILURES:
                upstream.answers[COUNTRIES] = answer
                response = await client.post("/countries/refresh")
                assert response.status_code == 503
                lines.append(response.text)
            upstream.answers[COUNTRIES] = document(ECHOES)
            report = (await client.post("/countries/refresh")).json()
        finally:
            logger.remove(sink)
        lines += [(await client.get(path)).text for path in ("/countries", "/status", "/audit")]

    assert [each["name"] for each in report["skipped"]] == ["Bad ********", "Twice ********"]
    assert [(each["name"], each["value"]) for each in report["kept"]] == [("Bulgaria ********", "EUR")]
    shown = [*lines, json.dumps(report)]
    assert not [line for line in shown for form in FORMS if form in line]
