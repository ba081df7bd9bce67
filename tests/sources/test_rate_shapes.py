"""The formats of rates: what is read from each of them, and what is refused."""

import json
from datetime import date, timedelta
from fractions import Fraction
from math import isfinite
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.sources.chain import SourceFailed
from app.sources.rate_answers import parse_answer
from app.sources.rate_shapes import LARGEST_RATE, SMALLEST_RATE, Quotes, parse_quotes
from tests.sources.rate_renderings import TODAY, WITHOUT_A_DAY, Table, ecb_csv, ecb_xml, renderings

CODES = ("EUR", "GBP", "JPY", "NGN", "KWD", "BTC")
DAYS = st.dates(date(1999, 1, 4), TODAY + timedelta(days=1))
RATES = st.decimals("0.0001", "100000", places=6).map(lambda rate: f"{rate:f}")


@st.composite
def tables(draw: st.DrawFn) -> Table:
    base = draw(st.sampled_from(("USD", *CODES)))
    codes = draw(st.sets(st.sampled_from([code for code in CODES if code != base]), min_size=1))
    quoted = sorted(codes | ({"USD"} - {base}))
    return Table(base, draw(DAYS), {code: draw(RATES) for code in quoted})


def parsed(body: Any) -> Quotes:
    return parse_answer(json.dumps(body), today=TODAY)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(tables())
@example(Table("EUR", date(2026, 10, 30), {"USD": "1.1172", "JPY": "175.68", "IDR": "20275.17"}))
def test_every_format_gives_each_rate_its_own_day_and_the_exact_cross_rate(table: Table):
    for name, text in renderings(table).items():
        day = TODAY if name in WITHOUT_A_DAY else table.day

        assert (name, parse_answer(text, today=TODAY)) == (name, Quotes(day, table.per_dollar()))


RECENT = st.dates(TODAY - timedelta(days=20), TODAY)
BY_DAY = st.dictionaries(RECENT | DAYS, RATES, min_size=1, max_size=3)
ROWS = st.dictionaries(st.sampled_from(CODES[1:]), BY_DAY, min_size=1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(ROWS, BY_DAY, st.randoms())
def test_cross_rate_is_of_the_newest_day_with_both_rates_or_else_of_two_days_near_each_other(
    rows: dict[str, dict[date, str]], dollars: dict[date, str], random: Any
):
    body = [
        {"date": f"{day}", "base": "EUR", "quote": code, "rate": float(rate)}
        for code, by_day in {**rows, "USD": dollars}.items()
        for day, rate in by_day.items()
    ]
    random.shuffle(body)

    quotes = parsed(body)

    rates, days, skipped = {"USD": 1.0}, {}, set()
    for code, by_day in (rows | {"EUR": dict.fromkeys(dollars, "1")}).items():
        pairs = [(day, other) for day in by_day for other in dollars]
        day, other = max(
            [pair for pair in pairs if pair[0] == pair[1]]
            or [min((abs(other - day), other, day) for day, other in pairs if day == max(by_day))[:0:-1]]
        )
        if abs(day - other) > timedelta(days=7):
            skipped.add((code, f"its rate is of {day}, more than 7 days from any of USD"))
        else:
            rates[code] = float(Fraction(by_day[day]) / Fraction(dollars[other]))
            days[code] = min(day, other)
    assert (quotes.rates, quotes.day, set(quotes.skipped)) == (rates, max(days.values()), skipped)
    assert quotes.days == {code: day for code, day in days.items() if day < quotes.day}


def test_rates_of_two_days_are_not_mixed_while_a_day_has_both():
    rates = [("JPY", 160, "2026-11-20"), ("JPY", 170, "2026-11-17"), ("USD", 1.1, "2026-11-17")]

    quotes = parsed([row(code, rate, day, base="EUR") for code, rate, day in rates])

    assert quotes == Quotes(date(2026, 11, 17), {"JPY": 170 / 1.1, "EUR": 1 / 1.1, "USD": 1.0})


def row(quote: object, rate: object, day: object = "2026-11-20", **others: object) -> dict[str, object]:
    return {"date": day, "base": "USD", "quote": quote, "rate": rate, **others}


def test_row_that_is_unusable_is_skipped_and_the_others_keep_their_days():
    body = [
        row("EUR", 0.9),
        row("RUB", 90, "2026-11-04"),
        row("GBP", 0.7, "soon"),
        row("CHF", 0.8, None),
        row("JPY", 150, "2100-01-01"),
        row("CAD", 1.4, "1970-01-01"),
        row("NGN", True),
        row("KES", "1e999"),
        row("UGX", "9.5E+2"),
        row("TZS", float("nan")),
        row("SEK", 9.5),
        row("SEK", 9.6),
        row(["DKK"], 7),
        {"note": "not a quote"},
        7,
    ]

    assert parsed(body) == Quotes(
        date(2026, 11, 20),
        {"EUR": 0.9, "RUB": 90.0, "UGX": 950.0, "SEK": 9.5, "USD": 1.0},
        (
            *((code, "its day is not a day in range") for code in ("GBP", "CHF", "JPY", "CAD")),
            *((code, "its rate is not a number in range") for code in ("NGN", "KES", "TZS")),
            ("SEK", "its rate is given twice"),
        ),
        {"RUB": date(2026, 11, 4)},
    )


def test_rows_without_any_day_are_of_today():
    assert parsed([{"base": "USD", "quote": "EUR", "rate": "0.9"}]) == Quotes(TODAY, {"EUR": 0.9, "USD": 1.0})


USUAL: dict[str, Any] = {"base": "USD", "rates": {"EUR": 0.9}}


@pytest.mark.parametrize(
    ("stamps", "day"),
    [
        ({}, TODAY),
        ({"date": None, "timestamp": None}, TODAY),
        ({"date": "2026-11-20"}, date(2026, 11, 20)),
        ({"date": "2026-11-20 23:30:00-05"}, date(2026, 11, 21)),
        ({"date": "2026-11-20T00:00:00"}, date(2026, 11, 20)),
        ({"timestamp": 1335096053}, date(2012, 4, 22)),
        ({"timestamp": "1335096053"}, date(2012, 4, 22)),
        ({"date": "2026-11-20", "timestamp": 1795219199}, date(2026, 11, 20)),
        ({"date": "2026-11-22"}, date(2026, 11, 22)),
        ({"time_last_updated": 1335096053}, date(2012, 4, 22)),
        ({"last_updated": "2012-04-22"}, date(2012, 4, 22)),
        ({"last_updated": 1335096053}, date(2012, 4, 22)),
        ({"timestamp": "2012-04-22T12:00:53Z"}, date(2012, 4, 22)),
        ({"time_last_update_utc": "Sat, 21 Apr 2012 23:00:53 -0500"}, date(2012, 4, 22)),
        ({"time_next_update_utc": "soon", "time_eol_unix": 0, "update_date": None}, TODAY),
        ({"date": "2026-11-20", "updated_by": "x"}, date(2026, 11, 20)),
    ],
)
def test_day_of_an_answer_is_its_own(stamps: dict[str, Any], day: date):
    assert parsed(USUAL | stamps).day == day


REFUSED: list[tuple[Any, str]] = [
    (USUAL | {"date": "2026-11-20", "timestamp": 1335096053}, "with two different days, 2012-04-22 and 2026-11-20"),
    (USUAL | {"date": "2026-11-23"}, "with rates of 2026-11-23, which is in the future"),
    (USUAL | {"timestamp": 0}, "with rates of 1970-01-01, which is too old"),
    (USUAL | {"timestamp": 1795219199000}, "with an invalid update time"),
    (USUAL | {"timestamp": True}, "with an invalid update time"),
    (USUAL | {"timestamp": float("nan")}, "with an invalid update time"),
    *((USUAL | {"date": text}, "with an invalid date") for text in ("", "soon", "20261120", "2026-W47-5")),
    *((USUAL | {"date": value}, "with an invalid date") for value in (20261120, True)),
    (USUAL | {"date": []}, "with an invalid date"),
    (USUAL | {"last_updated": "soon"}, "with an invalid update time"),
    (USUAL | {"time_last_update_utc": "Sat, 99 Apr 2012 23:00:53 +0000"}, "with an invalid update time"),
    (USUAL | {"lastUpdated": 1335096053}, "with a day that cannot be read, in lastUpdated"),
    (USUAL | {"Datum/date": "22.4.2012"}, "with a day that cannot be read, in a field with an odd name"),
    (USUAL | {"meta": {"last_updated_at": "9999-99-99T00:00:00Z"}}, "with an invalid date"),
    ({"base": "EUR", "rates": {"GBP": 0.8}}, "with rates for EUR, but none for USD"),
    ({"data": {"EUR": 0.9}}, "with rates for an unnamed base, but none for USD"),
    ({"base": "EUR", "rates": {"USD": 1.1, "EUR": 2}}, "with a rate for EUR that is not 1"),
    ({"base": "USD", "rates": {"USD": 1.1}}, "with a rate for USD that is not 1"),
    ({"rates": {"USD": 1}}, "with rates for an unknown base"),
    ({"base": "DOLLAR", "rates": {"USD": 1}}, "with rates for an unknown base"),
    ([row("EUR", 1), row("GBP", 1, base="EUR")], "with rates for several bases"),
    ([row("EUR", 0.9, "soon")], "without a single usable rate"),
    (USUAL | {"amount": 100}, "with rates for an amount other than 1"),
    ({"rows": [], "next-page": 2, "x" * 21: 1, "a1": 1}, "in an unknown format; seen: rows, next-page"),
    ([3, {"currency": "EUR", "value": 1}], "in an unknown format; seen: currency, value"),
    ([], "in an unknown format"),
    ("text", "in an unknown format"),
]


@pytest.mark.parametrize(("body", "reason"), REFUSED)
def test_unusable_answer_is_a_failed_source_with_a_reason(body: Any, reason: str):
    with pytest.raises(SourceFailed) as caught:
        parsed(body)

    assert str(caught.value) == f"answered {reason}"


KEY = "hush-hush-hush"
ERRORS: list[tuple[dict[str, Any], str]] = [
    ({"result": "error", "error-type": "quota-reached"}, "the error quota-reached"),
    ({"error": True, "status": 401, "message": "invalid_app_id", "description": KEY}, "the error invalid_app_id"),
    ({"success": False, "error": {"code": 101, "type": "invalid_access_key"}}, "the error invalid_access_key"),
    ({"success": False, "error": {"code": 104, "info": f"?access_key={KEY}"}}, "the error 104"),
    ({"error": {"code": "invalid_access_key", "message": KEY}}, "the error invalid_access_key"),
    ({"errors": [{"id": "invalid_request", "message": KEY}]}, "the error invalid_request"),
    ({"message": "Validation error", "errors": {"apikey": [KEY]}}, "an error"),
    ({"result": "error", "error-type": KEY}, "an error"),
    ({"success": False, "error": KEY, "rates": {"EUR": 1}}, "an error"),
]


@pytest.mark.parametrize(("body", "reason"), ERRORS)
def test_reported_error_is_named_by_known_words_only(body: dict[str, Any], reason: str):
    with pytest.raises(SourceFailed) as caught:
        parsed(body)

    assert str(caught.value) == f"answered with {reason}"


TABLE = Table("EUR", date(2026, 11, 20), {"USD": "1.1", "JPY": "170"})
DOCTYPE = ecb_xml(TABLE).replace("<gesmes:Envelope", '<!DOCTYPE x [<!ENTITY e "ha">]><gesmes:Envelope')
BROKEN = {
    ecb_xml(TABLE)[:-9]: "answered with invalid XML",
    ecb_xml(TABLE).replace("EUR", "\ud800").replace("Reference", "\ud800"): "answered with invalid XML",
    DOCTYPE: "answered with XML that declares a document type",
    ecb_xml(TABLE).replace("<Cube>", "<Cube>" * 9): "answered with XML that is nested too deeply",
    ecb_xml(): "answered with an invalid date",
    ecb_xml(TABLE).replace("2026-11-20", "tomorrow"): "answered with an invalid date",
    ecb_csv(TABLE).replace("170", KEY): "answered with invalid CSV in line 2",
    "Date, USD\n": "answered without a single usable rate",
    f" {ecb_xml(TABLE)}": "answered with XML or HTML that is not a known format",
    "<!doctype html><title>Hello</title>": "answered with XML or HTML that is not a known format",
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.items())
def test_unusable_file_of_the_ecb_is_a_failed_source_with_a_reason(text: str, reason: str):
    with pytest.raises(SourceFailed) as caught:
        parse_answer(text, today=TODAY)

    assert str(caught.value) == reason


NAMES = st.sampled_from(
    [
        *("rates", "conversion_rates", "quotes", "data", "usd", "eur", "base", "base_code", "source", "currency"),
        *("date", "timestamp", "meta", "last_updated_at", "result", "success", "error", "errors", "amount", "quote"),
        *("rate", "value", "code", "USD", "EUR", "USDEUR", "GBP", "message", "0.9", "1", "2026-11-20"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NAMES
BODIES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=25
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(BODIES)
def test_any_document_is_either_rates_in_range_or_a_failed_source(body: Any):
    try:
        quotes = parse_quotes(body, today=TODAY)
    except SourceFailed:
        return
    assert quotes.rates.keys() > {"USD"}
    assert all(isfinite(rate) and SMALLEST_RATE <= rate <= LARGEST_RATE for rate in quotes.rates.values())
    assert all(day < quotes.day <= TODAY + timedelta(days=1) for day in quotes.days.values())
