"""Plans of series of rates over a range of days: their source, size and last day."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final

from sqlmodel import and_, case, col, false, func, or_
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.queries import execute, select_columns
from app.core.db.snapshots import Snapshot
from app.core.errors import AppError, ValidationFailed
from app.rates.euro import EURO, FixedRate, fixed_by
from app.rates.in_force import DayKey, RatesNotFound, Spans, describe_stored, load_spans
from app.rates.models import RateDay
from app.rates.quoted import require_quoted
from app.rates.schemas import SeriesQuery
from app.sources.rate_days import LONGEST_PAUSE

LARGEST_SERIES: Final = 300_000
"""Maximum number of rates in one answer: the ECB's whole history, or five years of 160 currencies."""
LARGEST_KEPT: Final = 10_000
"""Maximum number of rates in an answer that is built as a whole and cached; larger ones are streamed."""


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
    fixed: Mapping[str, FixedRate]
    """Those of the currencies and the base that get an irrevocable euro rate from some day of the range on."""
    days: int
    """Maximum number of days in the answer before they are averaged."""
    partial: Sequence[date]
    """First days of the averaged periods that the range cuts off, or that are not over."""
    read: tuple[date, date]
    """First and last day to read and fill: only where the source has rates, and from before the range to fill it."""

    @property
    def size(self) -> int:
        """Maximum number of rates to read or to write."""
        return self.days * len(self.codes)


async def plan_series(data: Snapshot, first: date, last: date | None, query: SeriesQuery, *, today: date) -> Series:
    """Choose the source of a series, and find out how large it is.

    One source serves the whole series: the one that quotes the most of the
    requested currencies, and among equals the one with the most days between
    the first and the last ones on which it quotes all of these.

    Args:
        data: The stored rates.
        first: First day of the range.
        last: Last day; None ends at the newest day that the source has, or with ``fill`` at today if that is later.
        query: What to return.
        today: The day in UTC.

    Raises:
        RatesNotFound: No rates of these days are stored, or none of the requested source.
        ValidationFailed: The source does not quote one of the currencies, or ``fill`` and ``group`` are both given.
        RangeTooLarge: There are too many rates.
    """
    if query.fill and query.group:
        raise ValidationFailed({"fill": "cannot be combined with group"})
    symbols = query.wanted
    wanted = {query.base, *(symbols or ())}
    # Sources may be a day ahead of UTC.
    start, end = _pause_before(first) if query.fill else first, last or today + timedelta(days=1)
    quoted = _quoted(await data.read(load_spans), start, end, query.source, wanted, everything=not symbols)
    source, days = await _choose_source(data, start, end, wanted, quoted, only=query.source)
    spans = quoted.get(source, {})
    asked = {"base": [query.base], "symbols": symbols or ()}
    await require_quoted(data, asked, spans, DayKey(source, end), first=first)
    if last is None:
        newest = min(end, max(last_day for _, last_day in spans.values()))
        last = max(first, newest, today) if query.fill else newest
    codes = symbols or sorted(spans)
    # A range may begin centuries before the first rate.
    read = max(start, min(begin for begin, _ in spans.values())), last
    if (newest := max(last_day for _, last_day in spans.values())) < last:
        read = read[0], min(last, newest + LONGEST_PAUSE) if query.fill else newest
    series = Series(
        query,
        source,
        first,
        last,
        codes,
        fixed_by({query.base, *codes}, last),
        (read[1] - max(first, read[0])).days + 1 if query.fill else days,
        _partial(query, first, last, today),
        read,
    )
    if series.size > LARGEST_SERIES:
        raise RangeTooLarge(
            f"{series.days} days of {len(series.codes)} currencies are {series.size} rates, more than "
            f"{LARGEST_SERIES}; ask for fewer with symbols, or for fewer days"
        )
    return series


def _pause_before(day: date) -> date:
    return max(day, date.min + LONGEST_PAUSE) - LONGEST_PAUSE


def _partial(query: SeriesQuery, first: date, last: date, today: date) -> Sequence[date]:
    if query.group is None:
        return ()
    periods = {(query.group.first_day(day), query.group.last_day(day)) for day in (first, last, min(today, last))}
    return sorted(begin for begin, end in periods if begin < first or end > last or end >= today)


async def _choose_source(
    data: Snapshot,
    first: date,
    last: date,
    wanted: Collection[str],
    quoted: Spans,
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

    async def count(session: AsyncSession) -> Sequence[Any]:
        return (await execute(session, query)).all()

    found_days = await data.read_once(count)
    if not found_days:
        stored = describe_stored(await data.read(load_spans), only)
        raise RatesNotFound(stored if only else f"No rates are stored from {first} to {last}")
    source, _, days = max(found_days, key=lambda row: (row[1], row[2], row[0]))
    return source, days


def _common_days(
    spans: Mapping[str, tuple[date, date]], wanted: Collection[str], first: date, last: date
) -> tuple[date, date]:
    """The part of a range in which a source quotes all of the wanted currencies that it has."""
    of_wanted = [spans[code] for code in wanted if code in spans]
    return max([first, *(begin for begin, _ in of_wanted)]), min([last, *(end for _, end in of_wanted)])


def _quoted(
    spans: Spans, first: date, last: date, source: str | None, wanted: Collection[str], *, everything: bool
) -> Spans:
    """Currencies that are quoted in the range, by source: the wanted ones, or everything.

    Where a source quotes the euro, wanted currencies that it has replaced count as quoted.
    """
    fixed = fixed_by(wanted, last)
    codes = {*wanted, EURO} if fixed else wanted
    quoted: dict[str, dict[str, tuple[date, date]]] = {}
    for name in spans if source is None else {source} & spans.keys():
        known = spans[name].items()
        in_range = {code: (begin, end) for code, (begin, end) in known if begin <= last and end >= first}
        found = in_range if everything else {code: in_range[code] for code in codes if code in in_range}
        if not found:
            continue
        quoted[name] = found
        euro = found.get(EURO)
        for code, rate in fixed.items():
            if euro is not None and euro[1] >= rate.since:
                begin, _ = found.get(code, (date.max, date.max))
                found[code] = (min(begin, max(euro[0], rate.since)), euro[1])
    return quoted
