"""What the service knows itself about countries and currencies."""

from datetime import date
from decimal import Decimal

import pytest

from app.core.db.keys import name_key
from app.sources import reference

EURO_RATES = """
    ATS 13.7603|BEF 40.3399|BGN 1.95583|CYP 0.585274|DEM 1.95583|EEK 15.6466|ESP 166.386|FIM 5.94573|FRF 6.55957
    GRD 340.750|HRK 7.53450|IEP 0.787564|ITL 1936.27|LTL 3.45280|LUF 40.3399|LVL 0.702804|MTL 0.429300|NLG 2.20371
    PTE 200.482|SIT 239.640|SKK 30.1260
"""
SUCCESSORS = """
    ANG XCG|BGL EUR|BGN EUR|BYR BYN|CUC CUP|DEM EUR|HRK EUR|MRO MRU|SLL SLE|STD STN|TRL TRY|VEB VES|VEF VES|ZMK ZMW
    ZWD ZWG|ZWL ZWG
"""
ISO_UNITS = """
    0 CLP JPY KRW UYI XOF|2 AFN ALL CHF EUR HUF IRR KPW LAK LBP MGA MMK RSD SOS SYP USD YER|3 BHD IQD KWD|4 CLF UYW
"""
WITHOUT_UNITS = ("XAG", "XAU", "XDR", "XPD", "XPT", "BTC")


def test_minor_units_are_those_of_iso_4217() -> None:
    for units, *codes in (group.split() for group in ISO_UNITS.replace("|", "\n").strip().splitlines()):
        assert {code: reference.currencies()[code].minor_units for code in codes} == dict.fromkeys(codes, int(units))
    assert [reference.currencies()[code].minor_units for code in WITHOUT_UNITS] == [None] * len(WITHOUT_UNITS)


def test_prices_in_cash_have_the_decimals_of_cldr() -> None:
    found = {code: reference.currencies()[code].cash_decimals for code in ("IQD", "RSD", "HUF", "CZK", "USD", "XAU")}
    assert found == {"IQD": 0, "RSD": 0, "HUF": 0, "CZK": 0, "USD": 2, "XAU": None}


def test_every_code_is_money_that_is_or_was_a_fund_a_metal_or_a_cryptocurrency() -> None:
    kinds = {code: currency.kind for code, currency in reference.currencies().items()}

    expected = {"NGN": "current", "GGP": "current", "XCG": "current", "DEM": "historic", "ANG": "historic"}
    expected |= {"BOV": "fund", "CLF": "fund", "XDR": "fund", "XAU": "metal", "XPD": "metal", "BTC": "crypto"}
    assert {code: kinds[code] for code in expected} == expected
    assert all(currency.name for currency in reference.currencies().values())
    assert kinds.keys() >= reference.rates().rates.keys()
    assert "historic" not in {kinds[code] for code in reference.rates().rates}
    assert {kinds[code] for country in reference.countries().values() for code in country.currencies} == {"current"}


def test_irrevocable_euro_rates_hold_from_the_day_on_which_they_were_fixed() -> None:
    fixed = {code: currency.fixed_since for code, currency in reference.currencies().items() if currency.fixed_since}

    rates = {code: str(reference.irrevocable_euro_rate(code, day)) for code, day in fixed.items()}

    assert rates == dict(pair.split() for pair in EURO_RATES.replace("|", "\n").strip().splitlines())
    assert {fixed[code] for code in ("DEM", "GRD", "HRK", "BGN")} == {
        *(date(1999, 1, 1), date(2001, 1, 1), date(2023, 1, 1), date(2026, 1, 1))
    }
    assert reference.irrevocable_euro_rate("BGN", date(2025, 12, 31)) is None
    assert reference.irrevocable_euro_rate("USD", date(2026, 1, 1)) is None


def test_a_historic_currency_leads_to_the_current_one_that_replaced_it() -> None:
    expected = dict(pair.split() for pair in SUCCESSORS.replace("|", "\n").strip().splitlines())

    assert {code: reference.current_successor(code) for code in expected} == expected
    assert [reference.current_successor(code) for code in ("USD", "BTC", "YUN", "nothing")] == [None] * 4
    assert reference.currencies()["BYR"].factor == Decimal(10_000)


def test_redenominations_and_pegs_are_known() -> None:
    known = {(row.code, row.day, row.factor) for row in reference.redenominations()}
    pegs = {peg.code: peg for peg in reference.pegs()}

    assert ("SYP", date(2026, 1, 1), 100) in known
    assert pegs["AED"] == ("AED", "USD", Decimal("3.6725"), Decimal("0.01"))
    assert (pegs["XPF"].rate, pegs["LSL"].base) == (Decimal("119.331742"), "ZAR")


def test_older_names_and_capitals_are_of_the_same_country_and_not_todays() -> None:
    for alpha2, country in reference.countries().items():
        spellings = {name_key(name) for name in reference.names()[alpha2]}
        assert {name_key(name) for name in country.older_names} <= spellings - {name_key(country.name)}
        assert not {*country.older_capitals} & {*country.capitals}
        assert not {*country.mistaken_currencies} & {*country.currencies}


def test_a_rate_that_is_older_than_the_others_has_its_own_day() -> None:
    rates = reference.rates()

    assert (rates.day, rates.days) == (date(2026, 9, 29), {"SYP": date(2026, 7, 4)})
    assert rates.rates["SYP"] == pytest.approx(110.591, rel=1e-6)
