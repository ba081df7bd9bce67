"""Rates and amounts of countries as exact decimals, on request."""

import csv
import io
import json
from decimal import Decimal

import pytest
from sqlmodel import col, update

from app.core.db.data_version import raise_version
from app.countries.models import Country, CountryHistory

FIELDS = "name,currency_code,exchange_rate,estimated_gdp,population,reference_gdp"
FORMATS = ("json", "csv", "ndjson")
STORED = {"exchange_rate": 1.5e-12, "estimated_gdp": 1.2345e22}
WRITTEN = {"exchange_rate": "0.0000000000015", "estimated_gdp": "12345000000000000000000"}


@pytest.fixture
async def extreme(loaded):
    """A service whose rate and estimate of Ghana have an exponent as doubles."""
    ghana = (await loaded.get("/countries/gh?fields=id")).json()["id"]
    async with loaded.state["database"].engine.begin() as connection:
        for table, key in ((Country, Country.id), (CountryHistory, CountryHistory.country_id)):
            await connection.execute(update(table).where(col(key) == ghana).values(**STORED))
    await loaded.state["database"].transaction(raise_version)
    return loaded


async def test_every_country_has_the_decimals_of_its_numbers_and_the_rate_of_rates(loaded):
    plain, text = [(await loaded.get(f"/countries?fields={FIELDS}{more}")).json() for more in ("", "&decimals=string")]
    rates = (await loaded.get("/rates?decimals=string")).json()["rates"]

    assert len(text) == 250
    for number, country in zip(plain, text, strict=True):
        money = {field: country[field] for field in ("exchange_rate", "estimated_gdp", "reference_gdp")}
        assert country | {field: number[field] for field in money} == number
        for field, written in money.items():
            assert (written is None) == (number[field] is None)
            assert written is None or (Decimal(written), type(written)) == (Decimal(repr(number[field])), str)
        assert country["exchange_rate"] == rates.get(country["currency_code"])


async def test_decimals_of_a_country_have_no_exponent_in_any_format(extreme):
    query = f"fields={FIELDS}&decimals=string"
    one = await extreme.get(f"/countries/ghana?{query}")
    listed, table, lines = [await extreme.get(f"/countries?q=ghana&{query}&format={form}") for form in FORMATS]

    population = one.json()["population"]
    assert one.text == (
        f'{{"name":"Ghana","population":{population},"currency_code":"GHS","exchange_rate":"0.0000000000015",'
        '"estimated_gdp":"12345000000000000000000","reference_gdp":"82825000000"}'
    )
    assert listed.text == f"[{one.text}]"
    assert lines.text == f"{one.text}\n"
    (row,) = csv.DictReader(io.StringIO(table.text.removeprefix("\ufeff")))
    assert row == one.json() | {"population": str(population)}
    whole = (await extreme.get("/countries/ghana?decimals=string")).json()
    assert whole == (await extreme.get("/countries/ghana?decimals=number")).json() | WRITTEN
    assert whole == (await extreme.get("/countries?q=ghana&decimals=string&limit=1")).json()[0]


async def test_decimals_of_a_history_have_no_exponent_in_any_format(extreme):
    (plain,) = (await extreme.get("/countries/ghana/history")).json()
    listed, table, lines = [
        await extreme.get(f"/countries/ghana/history?decimals=string&format={form}") for form in FORMATS
    ]

    assert plain.items() >= STORED.items()
    assert listed.json() == [plain | WRITTEN]
    assert json.loads(lines.text) == plain | WRITTEN
    assert list(csv.DictReader(io.StringIO(table.text.removeprefix("\ufeff")))) == listed.json()


async def test_unknown_rates_stay_null_and_no_estimate_is_0(loaded):
    antarctica = (await loaded.get(f"/countries/antarctica?fields={FIELDS}&decimals=string")).json()
    (entry,) = (await loaded.get("/countries/antarctica/history?decimals=string")).json()

    for found in (antarctica, entry):
        assert (found["currency_code"], found["exchange_rate"], found["estimated_gdp"]) == (None, None, "0")
    assert antarctica["reference_gdp"] is None
