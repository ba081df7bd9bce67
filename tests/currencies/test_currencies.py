"""The list of currencies: what CLDR knows of each, who uses it, since when it is quoted."""

import re
from datetime import date
from typing import Any

import pytest
from sqlmodel import insert

from app.rates.models import CurrencySpan
from tests.conftest import COUNTRIES, RATES
from tests.support.statements import explained, recorded
from tests.support.upstream import document, in_turn

FIELDS = ("code", "name", "symbol", "minor_units", "countries", "first_day", "last_day")

RECORDS = [
    {"name": name, "alpha2Code": code, "population": 1, "currencies": [{"code": currency}]}
    for name, code, currency in (
        *(("Togo", "TG", "XOF"), ("Benin", "BJ", "XOF"), ("Nigeria", "NG", "NGN")),
        ("Cuba", "CU", "CUP"),  # not quoted
        ("Atlantis", None, "NGN"),  # no code
        ("Antarctica", "AQ", None),
    )
]
ROWS: list[tuple[Any, ...]] = [
    ("BTC", None, "BTC", None, [], "2026-11-19", "2026-11-19"),
    ("CUP", "Cuban Peso", "CUP", 2, ["CU"], None, None),
    ("NGN", "Nigerian Naira", "₦", 2, ["Atlantis", "NG"], "2026-11-19", "2026-11-20"),
    ("USD", "US Dollar", "$", 2, [], "2026-11-19", "2026-11-20"),
    ("XOF", "West African CFA Franc", "F\u202fCFA", 0, ["BJ", "TG"], "2026-11-20", "2026-11-20"),
]
LISTED = [dict(zip(FIELDS, row, strict=True)) for row in ROWS]


@pytest.fixture
async def refreshed(client, upstream):
    """A service with six countries and the rates of two days."""
    upstream.answers[COUNTRIES] = document(RECORDS)
    upstream.answers[RATES] = in_turn(
        document({"base": "USD", "date": "2026-11-19", "rates": {"BTC": 0.00001, "NGN": 1400.0}}),
        document({"base": "USD", "date": "2026-11-20", "rates": {"XOF": 500.0, "NGN": 1450.0}}),
    )
    for _ in range(2):
        assert (await client.post("/countries/refresh")).status_code == 200
    return client


async def test_currencies_are_those_that_were_quoted_or_are_used_in_the_order_of_their_codes(refreshed):
    response = await refreshed.get("/currencies")

    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.headers["X-Total-Count"] == "5"
    assert response.json() == LISTED


async def test_days_are_the_first_and_the_last_of_all_sources(refreshed):
    imported = {"quote": "NGN", "source": "elsewhere", "first_day": date(1999, 1, 4), "last_day": date(2026, 11, 1)}
    async with refreshed.state["database"].writing() as connection:
        await connection.execute(insert(CurrencySpan), imported)

    response = await refreshed.get("/currencies?format=csv")

    assert "NGN,Nigerian Naira,₦,2,Atlantis NG,1999-01-04,2026-11-20\r\n" in response.text


async def test_currencies_come_as_csv_with_the_countries_in_one_cell_and_as_ndjson(refreshed):
    response = await refreshed.get("/currencies", headers={"Accept": "text/csv"})

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="currencies.csv"'
    assert response.text == (
        "\ufeffcode,name,symbol,minor_units,countries,first_day,last_day\r\n"
        "BTC,,BTC,,,2026-11-19,2026-11-19\r\n"
        "CUP,Cuban Peso,CUP,2,CU,,\r\n"
        "NGN,Nigerian Naira,₦,2,Atlantis NG,2026-11-19,2026-11-20\r\n"
        "USD,US Dollar,$,2,,2026-11-19,2026-11-20\r\n"
        "XOF,West African CFA Franc,F\u202fCFA,0,BJ TG,2026-11-20,2026-11-20\r\n"
    )

    lines = (await refreshed.get("/currencies?format=ndjson")).text.splitlines()
    assert len(lines) == 5
    assert lines[2] == (
        '{"code":"NGN","name":"Nigerian Naira","symbol":"₦","minor_units":2,"countries":["Atlantis","NG"],'
        '"first_day":"2026-11-19","last_day":"2026-11-20"}'
    )


async def test_currencies_change_with_a_deletion_and_hold_until_then(refreshed):
    before = await refreshed.get("/currencies")
    again = await refreshed.get("/currencies", headers={"If-None-Match": before.headers["ETag"]})
    await refreshed.delete("/countries/cuba")
    after = await refreshed.get("/currencies", headers={"If-None-Match": before.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")
    assert (after.status_code, after.json()) == (200, [row for row in LISTED if row["code"] != "CUP"])


async def test_there_are_no_currencies_before_the_first_refresh_and_no_parameters_but_the_format(client):
    empty = await client.get("/currencies")
    refused = [await client.get(f"/currencies?{query}") for query in ("format=xml", "code=NGN")]

    assert (empty.status_code, empty.json(), empty.headers["X-Total-Count"]) == (200, [], "0")
    assert [(response.status_code, response.json()["details"]) for response in refused] == [
        (400, {"format": "must be one of: json, csv, ndjson"}),
        (400, {"code": "unknown parameter; allowed: format"}),
    ]


SIGNS = {
    "EUR": "€",  # English has one
    "CAD": "CA$",
    "KES": "Ksh",  # English in Kenya has one
    "PLN": "zł",  # Polish has one
    "UZS": "soʻm",  # the likely language of Uzbekistan has a script in its name
    "AED": "د.إ.",  # without the mark for the direction of writing
    "CVE": "CVE",  # nothing that can be seen
    "ARS": "ARS",  # at home $, which English takes for US dollars
    "CHF": "CHF",  # nowhere a sign
    "XAU": "XAU",
    "KWD": "د.ك.",
}


@pytest.mark.engines("sqlite")  # they come from no database
async def test_signs_are_those_of_english_or_of_the_currencys_home_where_they_are_clear(client, upstream):
    upstream.answers[RATES] = document({"base": "USD", "date": "2026-11-20", "rates": dict.fromkeys(SIGNS, 1.0)})
    await client.post("/countries/refresh")

    listed = {row["code"]: row for row in (await client.get("/currencies")).json()}

    assert {code: listed[code]["symbol"] for code in SIGNS} == SIGNS
    assert [listed[code]["minor_units"] for code in ("EUR", "JPY", "KWD")] == [2, 0, 3]


async def test_rates_are_not_read_for_the_currencies(loaded):
    database = loaded.state["database"]
    with recorded(database) as statements:
        await loaded.get("/currencies")

    version, spans, _ = statements
    assert "FROM summarycache" in version.sql
    assert not any("exchange_rate" in statement.sql for statement in statements)
    plan = await explained(database, spans, "currency_span")
    by_index = "SCAN currency_span USING INDEX sqlite_autoindex_currency_span_1|currency_span index None PRIMARY"
    assert re.search(by_index, plan), plan
    assert not re.search("filesort|TEMP B-TREE", plan), plan
