"""Irrevocable euro rates: in force from the changeover on, whatever a source quotes."""

from datetime import date
from decimal import Context, Decimal

import pytest

from app.rates.euro import FixedRate
from app.rates.series_output import rates_in_force
from tests.rates.conftest import add_history

DIGITS = Context(prec=20)
LEV, KUNA, MARK, FRANC = (Decimal(rate) for rate in ("1.95583", "7.5345", "1.95583", "6.55957"))
DAYS = {
    date(2022, 12, 30): {"EUR": 1.0, "USD": 1.0666, "HRK": 7.5365, "BGN": 1.9558},
    date(2023, 1, 2): {"EUR": 1.0, "USD": 1.0683, "HRK": 7.9, "BGN": 1.9558},
    date(2026, 11, 19): {"EUR": 1.0, "USD": 1.15, "BGN": 2.5},
    date(2026, 11, 20): {"EUR": 1.0, "USD": 1.16, "BGN": 2.5},
}
"""A source that quotes two currencies after the euro has replaced them, and wrongly."""


@pytest.fixture
async def euro(client):
    await add_history(client, days=DAYS)
    return client


def text(number: Decimal) -> str:
    whole, _, decimals = f"{number:f}".partition(".")
    return f"{whole}.{decimals}".rstrip("0").rstrip(".")


@pytest.mark.parametrize(
    ("base", "quote", "rate", "fixed"),
    [
        ("DEM", "EUR", 1 / MARK, {"DEM": "1.95583"}),
        ("EUR", "DEM", MARK, {"DEM": "1.95583"}),
        ("DEM", "FRF", FRANC / MARK, {"DEM": "1.95583", "FRF": "6.55957"}),
        ("DEM", "BGN", Decimal(1), {"BGN": "1.95583", "DEM": "1.95583"}),
        ("DEM", "DEM", Decimal(1), {"DEM": "1.95583"}),
        ("DEM", "USD", Decimal("1.16") / MARK, {"DEM": "1.95583"}),
        ("USD", "BGN", LEV / Decimal("1.16"), {"BGN": "1.95583"}),
        ("EUR", "USD", Decimal("1.16"), None),
    ],
)
async def test_currency_that_the_euro_replaced_is_converted_by_law(euro, base, quote, rate, fixed):
    answer = (await euro.get(f"/convert?from={base}&to={quote}&amount=100&decimals=string")).json()

    with_digits = DIGITS.plus(rate)
    assert abs(Decimal(answer["rate"]) - rate) <= Decimal("1e-19")
    assert answer["result"] == text(Decimal(answer["rate"]) * 100)
    assert (answer["fixed"], answer["date"], answer["source"]) == (fixed, "2026-11-20", "ecb")
    number = (await euro.get(f"/convert?from={base}&to={quote}&amount=100")).json()
    assert number["rate"] == float(with_digits)
    assert number["fixed"] == (fixed and {code: float(one) for code, one in fixed.items()})


@pytest.mark.parametrize(
    ("on", "rate", "fixed"),
    [
        ("2022-12-31", "7.5365", None),
        ("2023-01-01", "7.5345", {"HRK": 7.5345}),  # by the euro's rate of 30 December
        ("2023-01-02", "7.5345", {"HRK": 7.5345}),
        ("2026-11-20", "7.5345", {"HRK": 7.5345}),
    ],
)
async def test_market_rate_counts_before_the_changeover_and_the_law_from_it_on(euro, on, rate, fixed):
    answer = (await euro.get(f"/convert?from=EUR&to=HRK&date={on}")).json()
    rates = (await euro.get(f"/rates/{on}?base=EUR&symbols=HRK,USD")).json()

    assert (answer["rate"], answer["fixed"]) == (float(rate), fixed)
    assert (rates["rates"]["HRK"], rates["fixed"]) == (float(rate), fixed)


async def test_all_rates_show_replaced_currencies_only_where_a_source_quotes_them(euro):
    latest, of_marks = [(await euro.get(f"/rates{query}")).json() for query in ("?base=EUR", "?base=DEM")]

    assert (latest["rates"], latest["fixed"]) == ({"BGN": 1.95583, "EUR": 1.0, "USD": 1.16}, {"BGN": 1.95583})
    assert of_marks["rates"].keys() == {"BGN", "DEM", "EUR", "USD"}
    assert (of_marks["rates"]["BGN"], of_marks["rates"]["DEM"]) == (1.0, 1.0)
    assert of_marks["fixed"] == {"BGN": 1.95583, "DEM": 1.95583}


async def test_source_without_the_euro_has_no_rate_of_a_currency_that_it_replaced(client):
    await add_history(client, days={date(2026, 11, 20): {"USD": 1.0, "GHS": 11.5, "BGN": 1.7}})
    response = await client.get("/convert?from=USD&to=BGN")

    told = "BGN is not quoted by ecb on 2026-11-20; it was replaced by EUR"
    assert (response.status_code, response.json()["details"]) == (400, {"to": told})
    assert (await client.get("/rates")).json()["rates"] == {"GHS": 11.5, "USD": 1.0}


async def test_series_changes_from_the_market_to_the_law_on_the_day_of_the_changeover(euro):
    body = (await euro.get("/rates/2022-12-30..2026-11-20?base=EUR&symbols=HRK,DEM")).json()

    assert body["fixed"] == {"DEM": 1.95583, "HRK": 7.5345}
    assert body["rates"] == {
        "DEM": dict.fromkeys(map(str, DAYS), 1.95583),
        "HRK": {"2022-12-30": 7.5365, "2023-01-02": 7.5345, "2026-11-19": 7.5345, "2026-11-20": 7.5345},
    }
    before = (await euro.get("/rates/2022-12-01..2022-12-31?base=EUR&symbols=HRK")).json()
    assert (before["fixed"], before["rates"]) == (None, {"HRK": {"2022-12-30": 7.5365}})


async def test_filled_series_changes_on_the_very_day_of_the_changeover_like_conversions(euro):
    path = "/rates/2022-12-30..2023-01-04?base=EUR&symbols=HRK&fill=previous"
    reverse = "/rates/2022-12-30..2023-01-04?base=HRK&symbols=EUR&fill=previous&decimals=string"
    body, per_kuna = (await euro.get(path)).json(), (await euro.get(reverse)).json()["rates"]["EUR"]
    days = [f"2022-12-{day}" for day in (30, 31)] + [f"2023-01-0{day}" for day in range(1, 5)]
    converted = {day: (await euro.get(f"/convert?from=EUR&to=HRK&date={day}")).json()["rate"] for day in days}

    assert body["rates"]["HRK"] == converted == dict(zip(days, [7.5365] * 2 + [7.5345] * 4, strict=True))
    assert {per_kuna[day] for day in days[2:]} == {text(DIGITS.divide(Decimal(1), KUNA))}


def test_rates_are_filled_up_to_the_changeover_and_fixed_from_it_on():
    quoted = {
        "EUR": {"2022-12-30": Decimal("0.94"), "2023-01-03": Decimal("0.95")},
        "HRK": {"2022-12-30": Decimal("7.1"), "2023-01-03": Decimal(9)},
    }
    fixed = {"HRK": FixedRate(KUNA, date(2023, 1, 1))}
    filled = rates_in_force(quoted, fixed, fill=(date(2022, 12, 31), date(2023, 1, 4)))

    assert filled["HRK"] == {
        "2022-12-31": Decimal("7.1"),
        "2023-01-01": Decimal("0.94") * KUNA,
        "2023-01-02": Decimal("0.94") * KUNA,
        "2023-01-03": Decimal("0.95") * KUNA,
        "2023-01-04": Decimal("0.95") * KUNA,
    }
    assert rates_in_force(quoted, fixed)["HRK"] == {"2022-12-30": Decimal("7.1"), "2023-01-03": Decimal("0.95") * KUNA}


async def test_series_has_a_replaced_currency_as_its_base(euro):
    body = (await euro.get("/rates/2026-11-19..2026-11-20?base=BGN&decimals=string")).json()

    assert body["fixed"] == {"BGN": "1.95583"}
    per_lev = {str(day): DIGITS.divide(Decimal(repr(DAYS[day]["USD"])), LEV) for day in list(DAYS)[2:]}
    assert body["rates"]["USD"] == {day: text(rate) for day, rate in per_lev.items()}
    assert set(body["rates"]["BGN"].values()) == {"1"}
    response = await euro.get("/rates/2026-11-19..2026-11-20?base=EEK&symbols=USD,EUR")
    assert response.json()["fixed"] == {"EEK": 15.6466}
