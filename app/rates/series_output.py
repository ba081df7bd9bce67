"""Series of rates over a range of days, read and written in pieces."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
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
from app.rates.crud import RatesNotFound, write_fixed
from app.rates.euro import EURO, apply_fixed_from
from app.rates.exchange import averages, cross_rate
from app.rates.models import ExchangeRate
from app.rates.series import Series
from app.sources.rates import ATTRIBUTIONS

READ_AT_ONCE: Final = 1_000
"""Rates that are read and computed at once, which blocks the event loop for less than 10 ms."""
COMPUTED_AT_ONCE: Final = 2
"""Long series of which a piece is computed at the same time."""
COLUMNS: Final = ("date", "base", "quote", "rate", "source")

_RATES: Final = select_columns(ExchangeRate.quote, ExchangeRate.day, ExchangeRate.rate).where(
    col(ExchangeRate.source) == bindparam("source"),
    col(ExchangeRate.quote).in_(bindparam("codes", expanding=True)),
    col(ExchangeRate.day).between(bindparam("first"), bindparam("last")),
)
"""Built once: building a statement takes as long as running it."""

Reading = Callable[[], AbstractAsyncContextManager[AsyncSession]]


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
    base, spans = series.query.base, list(_spans(series))
    base_rates: dict[str, Decimal] = {}
    at_once = max(1, READ_AT_ONCE // series.days)
    for start in range(0, len(series.codes), at_once):
        codes = series.codes[start : start + at_once]
        written: dict[str, list[bytes]] = {code: [] for code in codes}
        for span in spans:  # other requests are answered in between
            found = await _read_rates(reading, series, span, codes if start else {base, *codes})
            if start == 0:
                base_rates |= found.get(base, {})
            for code in codes:
                rates = [
                    (day, cross_rate(base_rates[day], rate))
                    for day, rate in found.get(code, {}).items()
                    if day in base_rates
                ]
                if rates:
                    written[code].append(_write_rates(fmt, series, code, _written(series, rates)))
        if start == 0:
            if not base_rates:
                raise RatesNotFound(f"No rates of {base} are stored from {series.first} to {series.last}")
            yield _json_head(series) if fmt is Format.JSON else write_heading(fmt, COLUMNS)
        for number, (code, parts) in enumerate(written.items(), start):
            if fmt is Format.JSON:
                yield (b"," if number else b"") + to_json(code) + b":{" + b",".join(parts) + b"}"
            else:
                yield b"".join(parts)
        reading = rest or reading
    if fmt is Format.JSON:
        yield b"}}"


def _spans(series: Series) -> Iterator[tuple[date, date]]:
    """The days of a series in parts of at most ``READ_AT_ONCE``; none ends within a period that is averaged."""
    first, group = series.first, series.query.group
    while True:
        after = first + timedelta(days=READ_AT_ONCE)
        if after > series.last:
            break
        after = group.first_day(after) if group else after
        yield first, after - timedelta(days=1)
        first = after
    yield first, series.last


def _written(series: Series, rates: list[tuple[str, Decimal]]) -> list[tuple[str, float | str]]:
    query = series.query
    if query.group is not None:
        dated = ((date.fromisoformat(day), rate) for day, rate in rates)
        rates = [(str(day), rate) for day, rate in averages(dated, query.group)]
    return [(day, write_decimal(rate, query.decimals)) for day, rate in rates]


def _write_rates(fmt: Format, series: Series, code: str, rates: list[tuple[str, float | str]]) -> bytes:
    """Write rates of a currency as rows, or as what is between the braces of a JSON object."""
    if fmt is Format.JSON:
        return to_json(dict(rates))[1:-1]
    return write_rows(fmt, COLUMNS, [(day, series.query.base, code, rate, series.source) for day, rate in rates])


def _json_head(series: Series) -> bytes:
    about = {
        "base": series.query.base,
        "from": series.first,
        "to": series.last,
        "group": series.query.group,
        "source": series.source,
        "attribution": ATTRIBUTIONS.get(series.source),
        "fixed": write_fixed(series.fixed, series.query.decimals),
    }
    return to_json(about)[:-1] + b',"rates":{'


async def _read_rates(
    reading: Reading, series: Series, span: tuple[date, date], codes: Collection[str]
) -> Mapping[str, Mapping[str, Decimal]]:
    """The rates of some currencies in a span by day, in the order of the days."""
    fixed = {code: series.fixed[code] for code in codes if code in series.fixed}
    quoted = list({*codes, EURO} if fixed else codes)
    wanted = {"source": series.source, "codes": quoted, "first": span[0], "last": span[1]}
    async with reading() as session:
        found = await read_by_day(session, _RATES, wanted)
    rates = {code: {day: Decimal(rate) for day, rate in rows} for code, rows in found.items()}
    euro = rates.get(EURO, {})
    return rates | {code: apply_fixed_from(rates.get(code, {}), euro, rate) for code, rate in fixed.items()}
