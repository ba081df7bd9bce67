"""Series of rates over a range of days, read and written in pieces."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from functools import cache, partial
from typing import Any, Final

from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled
from pydantic_core import to_json
from sqlalchemy import bindparam
from sqlmodel import and_, case, col, false, func, or_
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.database import Database
from app.core.db.queries import execute, read_by_day, select_columns
from app.core.errors import AppError
from app.core.http.formats import Format, write_heading, write_rows
from app.core.http.middleware.overload import Overloaded
from app.core.telemetry.counts import Counts
from app.rates.crud import RatesNotFound, describe_stored, require_quoted
from app.rates.exchange import Group, averages, cross, shown
from app.rates.models import CurrencySpan, ExchangeRate, RateDay
from app.rates.schemas import SeriesQuery
from app.sources.rates import ATTRIBUTIONS

LARGEST_SERIES: Final = 300_000
"""Maximum number of rates in one answer: the ECB's whole history, or five years of 160 currencies."""
LARGEST_KEPT: Final = 10_000
"""Maximum number of rates in an answer that is built as a whole and cached; larger ones are streamed."""
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

Spans = Mapping[str, tuple[date, date]]
"""First and last day of each currency that a source quotes, by code."""
Reading = Callable[[], AbstractAsyncContextManager[AsyncSession]]


class RangeTooLarge(AppError):
    """The answer would have too many rates."""

    status_code = 413
    title = "Range too large"


@dataclass(frozen=True)
class Series:
    """The plan of a series; its rates are still in the database."""

    query: SeriesQuery
    source: str
    first: date
    last: date
    codes: Sequence[str]
    """The currencies, in the order of the answer."""
    days: int
    """Maximum number of days of the source in the range."""

    @property
    def size(self) -> int:
        """Maximum number of rates to read."""
        return self.days * len(self.codes)


async def plan_series(session: AsyncSession, first: date, last: date, query: SeriesQuery) -> Series:
    """Choose the source of a series, and find out how large it is.

    One source serves the whole series: the one that quotes the most of the
    requested currencies, and among equals the one with the most days between
    the first and the last ones on which it quotes all of these.

    Raises:
        RatesNotFound: No rates of these days are stored, or none of the requested source.
        ValidationFailed: The source does not quote one of the currencies.
        RangeTooLarge: There are too many rates.
    """
    symbols = query.wanted
    wanted = {query.base, *(symbols or ())}
    quoted = await _quoted(session, first, last, query.source, wanted if symbols else None)
    source, days = await _choose_source(session, first, last, wanted, quoted, only=query.source)
    where = f"by {source} from {first} to {last}"
    require_quoted({"base": [query.base], "symbols": symbols or ()}, quoted.get(source, ()), where)
    series = Series(query, source, first, last, symbols or list(quoted[source]), days)
    if series.size > LARGEST_SERIES:
        raise RangeTooLarge(
            f"{series.days} days of {len(series.codes)} currencies are {series.size} rates, more than "
            f"{LARGEST_SERIES}; ask for fewer with symbols, or for fewer days"
        )
    return series


async def _choose_source(
    session: AsyncSession,
    first: date,
    last: date,
    wanted: Collection[str],
    quoted: Mapping[str, Spans],
    *,
    only: str | None,
) -> tuple[str, int]:
    """The source that quotes the most of these currencies, and its maximum number of days in the range."""
    found = {name: sum(code in codes for code in wanted) for name, codes in quoted.items()}
    best = [name for name, number in found.items() if number == max(found.values())]
    calendar = (last - first).days + 1
    if len(best) == 1 and calendar * len(quoted[best[0]]) <= LARGEST_KEPT:
        return best[0], calendar  # one candidate, and small enough whatever the exact number
    common = [
        and_(col(RateDay.source) == name, col(RateDay.day).between(*_common_days(quoted[name], wanted, first, last)))
        for name in best
    ]
    in_common = func.sum(case((or_(false(), *common), 1), else_=0))
    query = select_columns(RateDay.source, in_common, func.count()).group_by(col(RateDay.source))
    query = query.where(col(RateDay.day).between(first, last))
    if candidates := best or ([only] if only else []):
        query = query.where(col(RateDay.source).in_(candidates))
    found_days = (await execute(session, query)).all()
    if not found_days:
        raise RatesNotFound(
            await describe_stored(session, only) if only else f"No rates are stored from {first} to {last}"
        )
    source, _, days = max(found_days, key=lambda row: (row[1], row[2], row[0]))
    return source, days


def _common_days(spans: Spans, wanted: Collection[str], first: date, last: date) -> tuple[date, date]:
    """The part of a range in which a source quotes all of the wanted currencies that it has."""
    of_wanted = [spans[code] for code in wanted if code in spans]
    return max([first, *(begin for begin, _ in of_wanted)]), min([last, *(end for _, end in of_wanted)])


async def _quoted(
    session: AsyncSession, first: date, last: date, source: str | None, codes: Collection[str] | None
) -> Mapping[str, Spans]:
    """Currencies that are quoted in the range, by source; of these codes, or of all."""
    query = _quoted_query(of_source=source is not None, of_codes=codes is not None)
    wanted = {"source": source, "codes": list(codes or ()), "first": first, "last": last}
    quoted: dict[str, dict[str, tuple[date, date]]] = defaultdict(dict)
    for name, code, begin, end in await execute(session, query, wanted):
        quoted[name][code] = (begin, end)
    return quoted


@cache
def _quoted_query(*, of_source: bool, of_codes: bool) -> Any:
    query = select_columns(CurrencySpan.source, CurrencySpan.quote, CurrencySpan.first_day, CurrencySpan.last_day)
    query = query.where(
        col(CurrencySpan.first_day) <= bindparam("last"), col(CurrencySpan.last_day) >= bindparam("first")
    )
    if of_source:
        query = query.where(col(CurrencySpan.source) == bindparam("source"))
    if of_codes:
        query = query.where(col(CurrencySpan.quote).in_(bindparam("codes", expanding=True)))
    return query.order_by(col(CurrencySpan.quote))


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
                    (day, cross(base_rates[day], rate))
                    for day, rate in found.get(code, {}).items()
                    if day in base_rates
                ]
                if rates:
                    written[code].append(_write_rates(fmt, series, code, _grouped(rates, series.query.group)))
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


def _grouped(rates: list[tuple[str, Decimal]], group: Group | None) -> list[tuple[str, float]]:
    if group is None:
        return [(day, shown(rate)) for day, rate in rates]
    dated = ((date.fromisoformat(day), rate) for day, rate in rates)
    return [(str(day), shown(rate)) for day, rate in averages(dated, group)]


def _write_rates(fmt: Format, series: Series, code: str, rates: list[tuple[str, float]]) -> bytes:
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
    }
    return to_json(about)[:-1] + b',"rates":{'


async def _read_rates(
    reading: Reading, series: Series, span: tuple[date, date], codes: Collection[str]
) -> dict[str, dict[str, Decimal]]:
    """The stored rates of some currencies in a span by day, in the order of the days."""
    wanted = {"source": series.source, "codes": list(codes), "first": span[0], "last": span[1]}
    async with reading() as session:
        found = await read_by_day(session, _RATES, wanted)
    return {code: {day: Decimal(rate) for day, rate in rates} for code, rates in found.items()}
