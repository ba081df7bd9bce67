"""Series of rates over a range of days, read and written in pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Final

from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled
from pydantic_core import to_json
from sqlalchemy import bindparam
from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.database import Database
from app.core.db.queries import read_by_day, select_columns
from app.core.http.formats import Format, write_heading, write_rows
from app.core.http.middleware.overload import Overloaded
from app.core.http.numbers import write_decimal
from app.core.telemetry.counts import Counts
from app.rates.crud import write_fixed
from app.rates.euro import EURO, FixedRate, apply_fixed_from
from app.rates.exchange import Group, averages, cross_rate, fill_gaps
from app.rates.in_force import RatesNotFound
from app.rates.models import ExchangeRate
from app.rates.series import Series
from app.sources.rate_days import LONGEST_PAUSE
from app.sources.rates import ATTRIBUTIONS

READ_AT_ONCE: Final = 1_000
"""Rates that are read and computed at once, which blocks the event loop for less than 10 ms."""
COMPUTED_AT_ONCE: Final = 2
"""Long series of which a piece is computed at the same time."""
COLUMNS: Final = ("date", "base", "quote", "rate", "source")
_COLUMNS_OF_AVERAGES: Final = (*COLUMNS, "days", "partial")

_RATES: Final = select_columns(ExchangeRate.quote, ExchangeRate.day, ExchangeRate.rate).where(
    col(ExchangeRate.source) == bindparam("source"),
    col(ExchangeRate.quote).in_(bindparam("codes", expanding=True)),
    col(ExchangeRate.day).between(bindparam("first"), bindparam("last")),
)
"""Built once: building a statement takes as long as running it."""

Reading = Callable[[], AbstractAsyncContextManager[AsyncSession]]


Quoted = Mapping[str, Mapping[str, Decimal]]
"""A source's rates by currency and ISO day, in the order of the days."""

Entry = tuple[str, Decimal, int]
"""A day and its rate, or the first day of a period and its average; and the number of days that it is of."""


async def write_whole(session: AsyncSession, series: Series, fmt: Format) -> bytes:
    """Write a series of at most ``LARGEST_KEPT`` rates, like :func:`write_series`."""
    return b"".join([piece async for piece in write_series(lambda: nullcontext(session), series, fmt)])


class SeriesSlots:
    """Slots for computing a piece of a long series, two in a process.

    A series whose client reads slowly holds none while it waits.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._slots = asyncio.Semaphore(COMPUTED_AT_ONCE)

    async def start(self, database: Database, series: Series, fmt: Format) -> AsyncIterator[bytes]:
        """Write a long series like :func:`write_series`, reading each piece in a session of its own.

        Reads the first piece before returning, so that an early error becomes a response and not a broken connection.

        Raises:
            Overloaded: All slots are taken.
        """
        if self._slots.locked():
            self._counts.overloaded += 1
            raise Overloaded
        # The rest may take longer than a request.
        first, rest = partial(_uncancelled_reading, database), partial(_uncancelled_reading, database.plain)
        pieces = write_series(first, series, fmt, rest=rest)
        piece = await self._next(pieces)

        async def resume(piece: bytes | None) -> AsyncIterator[bytes]:
            while piece is not None:
                yield piece
                piece = await self._next(pieces)

        return resume(piece)

    async def _next(self, pieces: AsyncIterator[bytes]) -> bytes | None:
        async with self._slots:
            return await anext(pieces, None)


@asynccontextmanager
async def _uncancelled_reading(database: Database) -> AsyncIterator[AsyncSession]:
    """A reading of some milliseconds that runs to its end when the client disconnects, and is the last one then.

    Cancelling it would cost the connection, and on SQLite log an error.
    """
    await checkpoint_if_cancelled()
    with CancelScope(shield=True):
        async with database.reading() as session:
            yield session


async def write_series(
    reading: Reading, series: Series, fmt: Format, *, rest: Reading | None = None
) -> AsyncIterator[bytes]:
    """Write a series in pieces, one or more currencies at a time.

    JSON has one object per currency with a rate for each day; CSV and NDJSON have one row per rate.

    Args:
        reading: Opens the sessions that read the rates.
        series: What to write.
        fmt: The format.
        rest: Opens the sessions after the first piece; None for the same.

    Raises:
        RatesNotFound: Before the first piece: the base has no rates in the range.
        DatabaseUnavailable: After some pieces; the series is incomplete.
    """
    base, spans, is_json = series.query.base, list(_spans(series)), fmt is Format.JSON
    base_rates: dict[str, Decimal] = {}
    counts: dict[str, list[bytes]] = {}
    at_once = max(1, READ_AT_ONCE // series.days)
    for start in range(0, len(series.codes), at_once):
        codes = series.codes[start : start + at_once]
        written: dict[str, list[bytes]] = {code: [] for code in codes}
        before: Quoted = {}
        for span in spans:  # other requests are answered in between
            needed = codes if start else {base, *codes}
            quoted = await _read_rates(reading, series, span, needed)
            fixed = {code: series.fixed[code] for code in needed if code in series.fixed}
            if series.query.fill:
                # The last rate of the span before fills the days at the beginning of this one.
                quoted = {code: {**before.get(code, {}), **quoted.get(code, {})} for code in {*before, *quoted}}
                before = {code: dict(list(rates.items())[-1:]) for code, rates in quoted.items()}
                rates = rates_in_force(quoted, fixed, fill=(max(span[0], series.first), span[1]))
            else:
                rates = rates_in_force(quoted, fixed)
            if start == 0:
                base_rates |= rates.get(base, {})
            for code in codes:
                crossed = [
                    (day, cross_rate(base_rates[day], rate))
                    for day, rate in rates.get(code, {}).items()
                    if day in base_rates
                ]
                if entries := _grouped(crossed, series.query.group):
                    written[code].append(_write_entries(fmt, series, code, entries))
                    if is_json and series.query.group:
                        counted = to_json({day: number for day, _, number in entries})[1:-1]
                        counts.setdefault(code, []).append(counted)
        if start == 0:
            if not base_rates:
                raise RatesNotFound(f"No rates of {base} are stored from {series.first} to {series.last}")
            yield _json_head(series) if is_json else write_heading(fmt, _columns(series))
        for number, (code, parts) in enumerate(written.items(), start):
            yield (b"," if number else b"") + _json_member(code, parts) if is_json else b"".join(parts)
        reading = rest or reading
    if is_json:
        yield b"}," + _json_counts(series, counts) + b"}"


def rates_in_force(
    quoted: Quoted, fixed: Mapping[str, FixedRate], *, fill: tuple[date, date] | None = None
) -> dict[str, Mapping[str, Decimal]]:
    """Rates by currency and ISO day, with irrevocable euro rates from their days on.

    Args:
        quoted: The source's rates in the order of their days, perhaps with an earlier one to fill from.
        fixed: The irrevocable rates by currency. Without rates of the euro they have no effect.
        fill: First and last day to return. Quoted rates are repeated on the days without one, which also puts the
            irrevocable rates on their very first day. None returns the quoted days.
    """
    if fill is not None:
        quoted = {code: dict(_filled(rates.items(), *fill)) for code, rates in quoted.items()}
    euro = quoted.get(EURO, {})
    by_law = {code: apply_fixed_from(quoted.get(code, {}), euro, rate) for code, rate in fixed.items()}
    return {**quoted, **by_law}


def _spans(series: Series) -> Iterator[tuple[date, date]]:
    """The days of a series in parts of at most ``READ_AT_ONCE``; none ends within a period that is averaged."""
    (first, last), group = series.read, series.query.group
    while True:
        after = first + timedelta(days=READ_AT_ONCE)
        if after > last:
            break
        after = group.first_day(after) if group else after
        yield first, after - timedelta(days=1)
        first = after
    yield first, last


def _filled(rates: Iterable[tuple[str, Decimal]], first: date, last: date) -> list[tuple[str, Decimal]]:
    dated = ((date.fromisoformat(day), rate) for day, rate in rates)
    return [(str(day), rate) for day, rate in fill_gaps(dated, last, longest=LONGEST_PAUSE) if day >= first]


def _grouped(rates: Iterable[tuple[str, Decimal]], group: Group | None) -> list[Entry]:
    if group is None:
        return [(day, rate, 1) for day, rate in rates]
    dated = ((date.fromisoformat(day), rate) for day, rate in rates)
    return [(str(day), rate, number) for day, rate, number in averages(dated, group)]


def _columns(series: Series) -> Sequence[str]:
    return _COLUMNS_OF_AVERAGES if series.query.group else COLUMNS


def _write_entries(fmt: Format, series: Series, code: str, entries: Iterable[Entry]) -> bytes:
    """Write rates of a currency as rows, or as what is between the braces of a JSON object."""
    query = series.query
    written = [(day, write_decimal(rate, query.decimals), number) for day, rate, number in entries]
    if fmt is Format.JSON:
        return to_json({day: rate for day, rate, _ in written})[1:-1]
    partial = {str(day) for day in series.partial}
    more = [(number, day in partial) if query.group else () for day, _, number in written]
    rows = [
        (day, query.base, code, rate, series.source, *rest) for (day, rate, _), rest in zip(written, more, strict=True)
    ]
    return write_rows(fmt, _columns(series), rows)


def _json_head(series: Series) -> bytes:
    query = series.query
    about = {
        "base": query.base,
        "from": series.first,
        "to": series.last,
        "group": query.group,
        "fill": query.fill,
        "source": series.source,
        "attribution": ATTRIBUTIONS.get(series.source),
        "fixed": write_fixed(series.fixed, query.decimals),
        "partial": series.partial if query.group else None,
    }
    return to_json(about)[:-1] + b',"rates":{'


def _json_member(code: str, parts: Iterable[bytes]) -> bytes:
    return to_json(code) + b":{" + b",".join(parts) + b"}"


def _json_counts(series: Series, counts: Mapping[str, Iterable[bytes]]) -> bytes:
    if series.query.group is None:
        return b'"days":null'
    return b'"days":{' + b",".join(_json_member(code, counts.get(code, ())) for code in series.codes) + b"}"


async def _read_rates(reading: Reading, series: Series, span: tuple[date, date], codes: Collection[str]) -> Quoted:
    """The quoted rates of some currencies in a span, and of the euro if one of them has an irrevocable rate."""
    quoted = list(codes if series.fixed.keys().isdisjoint(codes) else {*codes, EURO})
    wanted = {"source": series.source, "codes": quoted, "first": span[0], "last": span[1]}
    async with reading() as session:
        found = await read_by_day(session, _RATES, wanted)
    return {code: {day: Decimal(rate) for day, rate in rows} for code, rows in found.items()}
