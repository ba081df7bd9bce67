"""Currencies: what is known about each, who uses it, since when it is quoted."""

import re
from datetime import date
from typing import Any

import pytest
from sqlmodel import insert

from app.core.db.data_version import raise_version
from app.rates.models import CurrencySpan
from tests.conftest import COUNTRIES, RATES
from tests.support.statements import recorded, tables_read
from tests.support.upstream import document, in_turn

FIELDS = (
    *("code", "numeric", "name", "symbol", "kind", "minor_units", "cash_decimals", "used_until", "successor"),
    *("countries", "first_day", "last_day"),
)
RECORDS = [
    {"name": name, "alpha2Code": code, "population": 1, "currencies": [{"code": currency}]}
    for name, code, currency in (
        *(("Togo", "TG", "XOF"), ("Benin", "BJ", "XOF"), ("Nigeria", "NG", "NGN")),
        ("Cuba", "CU", "CUP"),  # not quoted
        ("Atlantis", None, "NGN"),  # no code
        ("Sealand", None, "SEAL"),  # a currency of its own
        ("Antarctica", "AQ", None),
    )
]
BOTH_DAYS = ("2026-11-19", "2026-11-20")
FIRST_DAY = ("2026-11-19", "2026-11-19")
CURRENT: list[tuple[Any, ...]] = [
    ("CUP", "192", "Cuban Peso", "CUP", "current", 2, 2, None, None, ["CU"], None, None),
    ("NGN", "566", "Nigerian Naira", "₦", "current", 2, 2, None, None, ["Atlantis", "NG"], *BOTH_DAYS),
    ("SEAL", None, None, "SEAL", None, None, None, None, None, ["Sealand"], None, None),
    ("USD", "840", "US Dollar", "$", "current", 2, 2, None, None, [], *BOTH_DAYS),
    ("XOF", "952", "West African CFA Franc", "F\u202fCFA", "current", 0, 0, None, None, ["BJ", "TG"], *BOTH_DAYS),
]
OTHERS: list[tuple[Any, ...]] = [
    ("BTC", None, "Bitcoin", "BTC", "crypto", None, None, None, None, [], *FIRST_DAY),
    ("HRK", None, "Croatian Kuna", "kn", "historic", 2, 2, "2023-01-14", "EUR", [], *FIRST_DAY),
    ("QQQ", None, None, "QQQ", None, None, None, None, None, [], *FIRST_DAY),
    ("XAU", "959", "Gold", "XAU", "metal", None, None, None, None, [], *FIRST_DAY),
    ("XDR", "960", "Special Drawing Rights", "XDR", "fund", None, None, None, None, [], *FIRST_DAY),
]
NOT_QUOTED: list[tuple[Any, ...]] = [
    ("DEM", None, "German Mark", "DEM", "historic", 2, 2, "2002-02-28", "EUR", [], None, None),
    ("EUR", "978", "Euro", "€", "current", 2, 2, None, None, [], None, None),
]
BY_EURO = set(re.findall("...", "ATSBEFBGNCYPDEMEEKESPFIMFRFGRDHRKIEPITLLTLLUFLVLMTLNLGPTESITSKK"))
"""Listed as historic also if no source quotes them."""
LISTED, REST = ([dict(zip(FIELDS, row, strict=True)) for row in rows] for rows in (CURRENT, OTHERS))


def known_rows() -> list[dict[str, Any]]:
    return sorted(LISTED + REST, key=lambda row: row["code"])


@pytest.fixture
async def refreshed(client, upstream):
    """A service with seven countries and the rates of two days."""
    others = dict.fromkeys(("BTC", "HRK", "QQQ", "XAU", "XDR", "XOF"), 5.0)
    upstream.answers[COUNTRIES] = document(RECORDS)
    upstream.answers[RATES] = in_turn(
        document({"base": "USD", "date": "2026-11-19", "rates": {"NGN": 1400.0, **others}}),
        document({"base": "USD", "date": "2026-11-20", "rates": {"XOF": 5.0, "NGN": 1450.0}}),
    )
    for _ in range(2):
        assert (await client.post("/countries/refresh")).status_code == 200
    return client


async def test_currencies_are_the_current_ones_that_were_quoted_or_are_used_in_the_order_of_their_codes(refreshed):
    response = await refreshed.get("/currencies")

    assert (response.status_code, response.headers["Content-Type"]) == (200, "application/json")
    assert response.headers["X-Total-Count"] == "5"
    assert response.json() == LISTED


@pytest.mark.parametrize(
    ("kind", "codes"),
    [
        ("current", "CUP NGN SEAL USD XOF"),
        ("crypto", "BTC"),
        ("metal,fund", "XAU XDR"),
        ("historic, current", "CUP HRK NGN SEAL USD XOF"),
        ("current,historic,fund,metal,crypto", "BTC CUP HRK NGN SEAL USD XAU XDR XOF"),
        ("all", "BTC CUP HRK NGN QQQ SEAL USD XAU XDR XOF"),
        ("metal,all", "BTC CUP HRK NGN QQQ SEAL USD XAU XDR XOF"),
    ],
)
@pytest.mark.engines("sqlite")  # selected in Python
async def test_other_kinds_are_listed_where_they_are_named(refreshed, kind, codes):
    response = await refreshed.get("/currencies", params={"kind": kind})

    wanted, replaced = codes.split(), BY_EURO if re.search("historic|all", kind) else set()
    rows = {row["code"]: row for row in response.json()}
    assert list(rows) == sorted({*wanted, *replaced})
    assert [rows[code] for code in wanted] == [row for row in known_rows() if row["code"] in wanted]
    assert {rows[code]["first_day"] for code in replaced - {*wanted}} <= {None}
    assert response.headers["X-Total-Count"] == str(len(rows))


@pytest.mark.engines("sqlite")
async def test_currencies_that_the_euro_has_replaced_are_listed_before_a_source_quotes_them(client):
    response = await client.get("/currencies?kind=historic")

    assert {row["code"] for row in response.json()} == BY_EURO
    assert [row for row in response.json() if row["code"] == "DEM"] == [dict(zip(FIELDS, NOT_QUOTED[0], strict=True))]


async def test_days_are_the_first_and_the_last_of_all_sources(refreshed):
    imported = {"quote": "NGN", "source": "elsewhere", "first_day": date(1999, 1, 4), "last_day": date(2026, 11, 1)}
    async with refreshed.state["database"].writing() as connection:
        await connection.execute(insert(CurrencySpan), imported)
    await refreshed.state["database"].transaction(raise_version)

    response = await refreshed.get("/currencies?format=csv")

    assert "NGN,566,Nigerian Naira,₦,current,2,2,,,Atlantis NG,1999-01-04,2026-11-20\r\n" in response.text


async def test_currencies_come_as_csv_with_the_countries_in_one_cell_and_as_ndjson(refreshed):
    response = await refreshed.get("/currencies?kind=current,metal", headers={"Accept": "text/csv"})

    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="currencies.csv"'
    assert response.text == (
        f"\ufeff{','.join(FIELDS)}\r\n"
        "CUP,192,Cuban Peso,CUP,current,2,2,,,CU,,\r\n"
        "NGN,566,Nigerian Naira,₦,current,2,2,,,Atlantis NG,2026-11-19,2026-11-20\r\n"
        "SEAL,,,SEAL,,,,,,Sealand,,\r\n"
        "USD,840,US Dollar,$,current,2,2,,,,2026-11-19,2026-11-20\r\n"
        "XAU,959,Gold,XAU,metal,,,,,,2026-11-19,2026-11-19\r\n"
        "XOF,952,West African CFA Franc,F\u202fCFA,current,0,0,,,BJ TG,2026-11-19,2026-11-20\r\n"
    )

    lines = (await refreshed.get("/currencies?format=ndjson")).text.splitlines()
    assert len(lines) == 5
    assert lines[1] == (
        '{"code":"NGN","numeric":"566","name":"Nigerian Naira","symbol":"₦","kind":"current","minor_units":2,'
        '"cash_decimals":2,"used_until":null,"successor":null,"countries":["Atlantis","NG"],'
        '"first_day":"2026-11-19","last_day":"2026-11-20"}'
    )


async def test_currencies_change_with_a_deletion_and_hold_until_then(refreshed):
    before = {path: await refreshed.get(path) for path in ("/currencies", "/currencies/CUP")}
    tags = {path: {"If-None-Match": response.headers["ETag"]} for path, response in before.items()}
    again = [await refreshed.get(path, headers=tag) for path, tag in tags.items()]
    await refreshed.delete("/countries/cuba")
    listed, one = [await refreshed.get(path, headers=tag) for path, tag in tags.items()]

    assert [(response.status_code, response.content) for response in again] == [(304, b"")] * 2
    assert (listed.status_code, listed.json()) == (200, [row for row in LISTED if row["code"] != "CUP"])
    assert (one.status_code, one.json()) == (200, {**LISTED[0], "countries": []})


async def test_no_currencies_are_listed_before_the_first_refresh_and_other_parameters_are_refused(client):
    empty = await client.get("/currencies")
    queries = ("format=xml", "code=NGN", "kind=money", "kind=", "kind=current,", "kind=fund&kind=metal", "kind=Fund")
    refused = [await client.get(f"/currencies?{query}") for query in queries]

    assert (empty.status_code, empty.json(), empty.headers["X-Total-Count"]) == (200, [], "0")
    kinds = {"kind": "must be some of: current, historic, fund, metal, crypto, all"}
    assert [(response.status_code, response.json()["details"]) for response in refused] == [
        (400, {"format": "must be one of: json, csv, ndjson"}),
        (400, {"code": "unknown parameter; allowed: kind, format"}),
        (400, kinds),
        (400, {"kind": "must not be blank"}),
        (400, kinds),
        (400, {"kind": "is given more than once"}),
        (400, kinds),
    ]


async def test_one_currency_is_found_by_its_code_in_any_case(refreshed):
    known = {row["code"]: row for row in LISTED + REST}

    found = {code: await refreshed.get(f"/currencies/{code.lower()}") for code in known}
    head = await refreshed.head("/currencies/Ngn/")
    numbered = await refreshed.get("/currencies/566")

    assert {code: response.json() for code, response in found.items()} == known
    assert numbered.json() == known["NGN"]
    assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", found["NGN"].headers["ETag"])


@pytest.mark.engines("sqlite")
async def test_one_currency_is_found_before_a_source_quotes_it_and_leads_to_its_successor(client):
    currency = (await client.get("/currencies/dem")).json()
    successor = (await client.get(f"/currencies/{currency['successor']}")).json()

    assert [currency, successor] == [dict(zip(FIELDS, row, strict=True)) for row in NOT_QUOTED]


@pytest.mark.engines("sqlite")
async def test_an_unknown_code_is_not_found_and_what_cannot_be_a_code_is_refused(refreshed):
    unknown = [await refreshed.get(f"/currencies/{code}") for code in ("ZZZ", "XXX", "EURO", "000")]
    refused = [
        await refreshed.get(f"/currencies/{code}") for code in ("E", "US1", "9780", "ßa", "€€€", "ABCDEFGHI", "%20")
    ]
    other = await refreshed.get("/currencies/EUR?kind=all")

    assert {(r.status_code, r.text) for r in unknown} == {(404, '{"error":"Currency not found"}')}
    details = {"code": "must be a currency code, such as EUR or 978"}
    assert [(r.status_code, r.json()["details"]) for r in refused] == [(400, details)] * 7
    assert other.status_code == 400


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
async def test_signs_are_those_of_english_or_of_the_currencys_home_where_they_are_clear(client):
    signs = {code: (await client.get(f"/currencies/{code}")).json()["symbol"] for code in SIGNS}

    assert signs == SIGNS


@pytest.mark.engines("sqlite")
async def test_decimals_are_those_of_iso_4217_and_beside_them_those_of_prices_in_cash(client):
    found = [(await client.get(f"/currencies/{code}")).json() for code in ("RSD", "IQD", "JPY", "CHF", "UYW", "XPT")]

    decimals = [(currency["minor_units"], currency["cash_decimals"]) for currency in found]
    assert decimals == [(2, 0), (3, 0), (0, 0), (2, 2), (4, 4), (None, None)]


async def test_rates_are_not_read_for_the_currencies(loaded):
    database = loaded.state["database"]
    with recorded(database) as statements:
        await loaded.get("/currencies")
        await loaded.get("/currencies/NGN")

    assert tables_read(statements) == []
