"""Random pairs and days, compared with decimals computed from the European Central Bank's file and a second source."""

import random
from bisect import bisect_right
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, localcontext
from typing import Any, NamedTuple
from zipfile import ZipFile

import pytest
from currency_converter import CURRENCY_FILE

from app.core.db.data_version import raise_version
from app.rates.store import record_quotes
from app.sources.rate_shapes import Quotes
from tests.conftest import START
from tests.rates.test_import import run, write

Days = dict[date, dict[str, Decimal]]

WEEK = timedelta(days=7)
FIXED = {
    "SIT": ("2007-01-01", "239.640"),
    "CYP": ("2008-01-01", "0.585274"),
    "MTL": ("2008-01-01", "0.429300"),
    "SKK": ("2009-01-01", "30.1260"),
    "EEK": ("2011-01-01", "15.6466"),
    "LVL": ("2014-01-01", "0.702804"),
    "LTL": ("2015-01-01", "3.45280"),
    "HRK": ("2023-01-01", "7.53450"),
    "BGN": ("2026-01-01", "1.95583"),
}
"""Irrevocable euro rates of the bank's currencies, and their first days."""
STOPPED = {"RUB": "84.5", "BGN": "1.72", "HRK": "6.63", "LVL": "0.618"}
"""Currencies that the bank no longer quotes, with the second source's rates."""
PERIODS = (
    ("2008-12-01", "2008-12-31"),  # ISK stops on the 9th
    ("2013-12-16", "2014-01-17"),  # LVL stops
    ("2018-01-22", "2018-02-09"),  # ISK is back
    ("2022-02-21", "2022-03-18"),  # RUB stops
    ("2022-12-19", "2023-01-13"),  # HRK stops
    ("2025-12-22", "2026-01-16"),  # BGN stops
    ("2026-08-03", "2026-10-30"),
)
"""Of the bank's file, in the default run."""


class Found(NamedTuple):
    """What a response must say."""

    day: date
    source: str
    rate: Decimal


def fixed_rate(code: str, on: date) -> Decimal | None:
    since, rate = FIXED.get(code, ("9999-12-31", "0"))
    return Decimal(rate) if str(on) >= since else None


def bank_lines(*, whole: bool) -> list[str]:
    with ZipFile(CURRENCY_FILE) as archive:
        head, *lines = archive.read("eurofxref-hist.csv").decode().splitlines(keepends=True)
    return [head, *(line for line in lines if whole or any(first <= line[:10] <= last for first, last in PERIODS))]


def bank_days(lines: list[str]) -> Days:
    codes = lines[0].strip(",\n").split(",")[1:]
    cells = {date.fromisoformat(line[:10]): line.strip().split(",")[1:] for line in lines[1:]}
    return {
        day: {"EUR": Decimal(1)}
        | {code: Decimal(rate) for code, rate in zip(codes, row, strict=False) if rate != "N/A"}
        for day, row in cells.items()
    }


def other_days(chance: random.Random) -> Days:
    """A source with every day of the autumn but two weeks, and with a hole for each currency now and then."""
    days: Days = {}
    for number in range(82):
        day = date(2026, 9, 1) + timedelta(number)
        if not date(2026, 10, 5) <= day <= date(2026, 10, 18):
            rates = {**STOPPED, "EUR": "0.88", "JPY": "155.1", "NGN": "1326.2", "ISK": "126.4"}
            moved = {code: Decimal(rate) * (1000 + chance.randrange(20)) / 1000 for code, rate in rates.items()}
            days[day] = {"USD": Decimal(1)} | {code: rate for code, rate in moved.items() if chance.random() > 0.1}
    return days


async def store(client: Any, source: str, days: Days) -> None:
    async def write_days(session: Any) -> None:
        for day, rates in days.items():
            quotes = Quotes(day, {code: float(rate) for code, rate in rates.items()})
            await record_quotes(session, source, quotes, recorded_at=datetime.combine(day, time(12), UTC))
        await raise_version(session)

    await client.state["database"].transaction(write_days)


def expect(sources: dict[str, Days], ordered: dict[str, list[date]], pair: tuple[str, str], on: date) -> Found | None:
    """The newest day on which a source has both, within a week of its own newest day; else the newest rate of each.

    None if there are none. The euro's rate is enough for a currency that it has replaced.
    """
    needed = {code if fixed_rate(code, on) is None else "EUR" for code in pair}
    best: tuple[bool, date, str] | None = None
    for name, days in sources.items():
        until = ordered[name][: bisect_right(ordered[name], on)]
        week = [day for day in until[-8:] if until[-1] - day <= WEEK]
        common = [day for day in week if needed <= days[day].keys()]
        newest = [max((day for day in week if code in days[day]), default=date.min) for code in needed]
        found = (True, common[-1], name) if common else (False, min(newest), name)
        if found[1] > date.min:
            best = max(best or found, found)  # of two, the refreshed one, whose name is the later
    if best is None:
        return None
    is_common, day, name = best
    days = sources[name]
    rates = dict(days[day])
    if not is_common:
        for each in (each for each in ordered[name] if on - WEEK - WEEK <= each <= on):
            rates |= {code: days[each][code] for code in needed & days[each].keys()}
    with localcontext(prec=60):
        base, quote = [
            rates[code] if (fixed := fixed_rate(code, on)) is None else rates["EUR"] * fixed for code in pair
        ]
        return Found(day, name, Context(prec=20).divide(quote, base))


def is_as_expected(body: dict[str, Any], expected: Found, amount: Decimal) -> bool:
    """To the last digit of a double, or of a decimal if the response has these."""
    with localcontext(prec=60):
        result = expected.rate * amount
    kind = Decimal if isinstance(body.get("rate"), str) else float
    found = (body.get("date"), body.get("source"), kind(body["rate"]), kind(body["result"]))
    return found == (str(expected.day), expected.source, kind(expected.rate), kind(result))


@pytest.mark.parametrize("draws", [500, pytest.param(5000, marks=pytest.mark.slow)])
async def test_random_pairs_and_days_are_answered_as_the_files_say(draws, client, database_url, tmp_path):
    chance, today = random.Random(draws), START.date()
    lines = bank_lines(whole=draws > 500)
    sources = {"ecb": bank_days(lines), "other": other_days(chance)}
    ordered = {name: sorted(days) for name, days in sources.items()}
    assert (await run(write(tmp_path / "hist.csv", lines), database_url)).code == 0
    await store(client, "other", sources["other"])
    codes = sorted({code for days in sources.values() for rates in days.values() for code in rates})
    nearby = sorted({day + timedelta(n) for days in ordered.values() for day in days for n in range(9)})
    wrong, kinds = [], {"answered": 0, "refused": 0, "stopped": 0}

    for number in range(draws):
        is_stopped = number % 3 == 0
        base, quote = chance.choice(["USD", "EUR", "NGN"]), chance.choice([*STOPPED])
        if not is_stopped:
            base, quote = chance.sample(codes, 2)
        on = min(chance.choice(nearby[-80:] if is_stopped or number % 2 else nearby), today)
        amount = Decimal(chance.randrange(1, 10**9)).scaleb(-2)
        decimals = ("number", "string")[number % 2]
        query = f"from={base}&to={quote}&date={on}&amount={amount}&decimals={decimals}"
        response = await client.get(f"/convert?{query}")
        expected, body = expect(sources, ordered, (base, quote), on), response.json()
        if expected is None:
            is_right = response.status_code == 400 and " not quoted by " in str(body["details"])
        else:
            is_right = response.status_code == 200 and is_as_expected(body, expected, amount)
        if not is_right:
            wrong.append((query, expected, body))
        kinds["answered" if expected else "refused"] += 1
        kinds["stopped"] += is_stopped and expected is not None

    assert (wrong[:3], len(wrong)) == ([], 0)
    assert min(kinds.values()) > draws / 20, kinds
