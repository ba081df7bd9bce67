"""The names and forms of fields in the records of country sources."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.sources.country_fields import FIELDS
from app.sources.country_shapes import CountryFact, UnusableRecord, parse_record

CURRENCIES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"currencies": [{"code": "GHS", "name": "Cedi"}, {"code": "(none)"}, {"code": None}]}, ("GHS",)),
    ({"currencies": {"EGP": {"name": "x", "symbol": "x"}, "ILS": {"symbol": "x"}, "JOD": {}}}, ("EGP", "ILS", "JOD")),
    ({"currencies": ["GHS", "USD", "GHS", "Cedi", None, ["EUR"]]}, ("GHS", "USD")),
    ({"currencies": "GHS"}, ("GHS",)),
    ({"currencies": "USD, ZWG"}, ("USD", "ZWG")),
    ({"currencies": {"code": "GHS", "name": "Cedi"}}, ("GHS",)),
    ({"currencies": {"CODE": "GHS", "NAME": "Cedi"}}, ("GHS",)),
    ({"currencies": [{"GHS": {"name": "Cedi"}}]}, ("GHS",)),
    ({"currency": "GHS"}, ("GHS",)),
    ({"currency": ["GHS"]}, ("GHS",)),
    ({"currency": {"code": "ghs", "symbol": "x"}}, ("GHS",)),
    ({"currency": {"currency_code": "GHS"}}, ("GHS",)),
    ({"currency_code": "GHS"}, ("GHS",)),
    ({"currencyCode": " ghs "}, ("GHS",)),
    ({"currency_code": "SLSH"}, ("SLSH",)),
    ({"currencies": [{"code": "SLSH"}]}, ("SLSH",)),
    ({"currencies": [], "currency_code": "GHS"}, ("GHS",)),
    ({"currencies": {"ABC": {"name": "Cedi", "code": "GHS"}}}, ("GHS",)),
    ({"currencies": {"1": {"iso_code": "ghs"}, "GHS": {"code": None, "name": "Cedi"}}}, ("GHS",)),
    ({"currency": "ugx"}, ("UGX",)),
    ({"currencies": [" ghs", "Dem"]}, ("GHS", "DEM")),
    # Neither a key nor a word is a code.
    ({"currencies": {"name": "GHS", "symbol": "GHS"}}, ()),
    ({"currencies": {"ISO": {"value": "GHS"}}}, ()),
    ({"currencies": {"GHS": "Cedi", "main": "GHS"}}, ()),
    ({"currencies": {"ghs": {"name": "Cedi"}}}, ()),
    ({"currency": "Euro"}, ()),
    ({"currency": "yen"}, ()),
    ({"currency": "btc"}, ()),
    ({"currencies": {"ABC": {"name": "Cedi", "code": 936}}}, ()),
    ({"currency": "DOLLAR"}, ()),
    ({"currency": "Ghana cedi (GHS)"}, ()),
    ({"currencies": [{"code": "IMP[G]"}, {"name": "Pound"}]}, ()),
    ({"currencies": 7}, ()),
]
CODES: list[tuple[dict[str, Any], tuple[str | None, str | None]]] = [
    ({"alpha2Code": "GH", "alpha3Code": "GHA"}, ("GH", "GHA")),
    ({"alpha2_code": "GH", "alpha3_code": "GHA"}, ("GH", "GHA")),
    ({"cca2": "GH", "cca3": "GHA"}, ("GH", "GHA")),
    ({"codes": {"alpha_2": "GH", "alpha_3": "GHA"}}, ("GH", "GHA")),
    ({"iso2": "gh", "iso3": "gha"}, ("GH", "GHA")),
    ({"ISO3166-1-Alpha-2": "GH", "ISO3166-1-Alpha-3": "GHA"}, ("GH", "GHA")),
    ({"alpha2Code": "", "cca2": "GH", "alpha3Code": None, "codes": {"alpha_3": "GHA"}}, ("GH", "GHA")),
    ({"alpha2Code": "GHA", "alpha3Code": "GH"}, (None, None)),
    ({"cca2": "ß", "cca3": 1, "codes": "GH"}, (None, None)),
]
POPULATIONS: dict[object, int] = {
    34_589_100: 34_589_100,
    34_589_100.5: 34_589_100,
    "34589100": 34_589_100,
    "34,589,100": 34_589_100,
    " 589 ": 589,
    "0": 0,
}
NO_POPULATIONS: list[object] = [
    "34.589.100",
    "34 589 100",
    "34,58",
    "0,589",
    "1e6",
    "-5",
    "",
    "many",
    "\u0663",
    "9" * 12,
]
NO_POPULATIONS += [None, True, [1], {}, -1, float("nan"), float("inf"), 10_000_000_001]
SVG, PNG = "https://flags.example/gh.svg", "http://flags.example/gh.png"
FLAGS: list[tuple[dict[str, Any], str | None]] = [
    ({"flags": {"png": PNG, "svg": SVG}, "flag": PNG}, SVG),
    ({"flags": ["x", PNG, SVG]}, PNG),
    ({"flags": SVG}, SVG),
    ({"flag_url": SVG, "flag": "\N{WAVING BLACK FLAG}"}, SVG),
    ({"flag": {"url_png": PNG, "url_svg": ""}}, PNG),
    ({"flag": "ftp://flags.example/gh.svg"}, None),
]


def parsed(**fields: Any) -> CountryFact:
    return parse_record({"name": "Ghana", "population": 5, **fields})


def test_currencies_are_read_in_every_form_and_no_key_is_taken_for_a_code():
    assert [parsed(**fields).currencies for fields, _ in CURRENCIES] == [codes for _, codes in CURRENCIES]


def test_codes_and_flags_are_read_under_every_name():
    facts = [parsed(**fields) for fields, _ in CODES]

    assert [(fact.alpha2, fact.alpha3) for fact in facts] == [codes for _, codes in CODES]
    assert [parsed(**fields).flag_url for fields, _ in FLAGS] == [url for _, url in FLAGS]


def test_population_may_be_text_if_it_can_be_one_number_only():
    assert {value: parsed(population=value).population for value in POPULATIONS} == POPULATIONS
    for value in NO_POPULATIONS:
        with pytest.raises(UnusableRecord, match="its population is not a number in range"):
            parsed(population=value)


def test_row_of_a_table_is_read_by_its_column_names():
    row = {
        "name": "Ghana",
        "alpha2_code": "GH",
        "alpha3_code": "GHA",
        "capital": "Accra",
        "region": "",
        "population": "35,697,557",
        "population_year": "2026",
        "currency_code": "GHS",
        "flag_url": SVG,
    }

    expected = CountryFact("Ghana", 35_697_557, 2026, "GH", "GHA", "Accra", None, ("GHS",), SVG)
    assert parse_record(row) == expected


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.just("GHS")
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("code", "common", "GHS", "svg", "alpha_2", "name")) | st.text(), inner)
    ),
    max_leaves=5,
)
NAMES = [name for names in FIELDS.values() for name in names] + ["codes", "flag", "flags", "flag_url", "currency_code"]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(record=st.dictionaries(st.sampled_from(NAMES) | st.text(), VALUES, max_size=6) | VALUES)
def test_whatever_a_record_holds_it_is_a_country_or_unusable(record: Any):
    for each in (record, {"name": "Ghana", "population": "5", **record} if isinstance(record, dict) else None):
        with suppress(UnusableRecord):
            fact = parse_record(each)
            assert fact.name
            assert fact.population >= 0
            assert all(code.isupper() and code.isascii() for code in fact.currencies)
