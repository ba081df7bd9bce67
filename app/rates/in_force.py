"""The rates in force on a day: which source and day they are of."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam
from sqlalchemy.orm import aliased
from sqlmodel import and_, col, or_
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.queries import execute, select_columns
from app.core.db.snapshots import Snapshot
from app.core.errors import AppError
from app.rates.models import CurrencySpan, ExchangeRate, RateDay
from app.sources.rate_days import LONGEST_PAUSE

SPARSE: Final = 10
"""A table with less than one in this many of its source's currencies holds only late rates, not those of its day."""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class RatesNotFound(AppError):
    """No rates are stored for the request."""

    status_code = 404
    title = "Rates not found"


class DayKey(NamedTuple):
    """One day of one source."""

    source: str
    day: date


class Quoted(NamedTuple):
    """Rates of one source, as stored."""

    key: DayKey
    rates: Mapping[str, float]
    """Units per unit of the source's base, by code."""
    other_days: Mapping[str, date] = {}
    """The days of those rates that are not of the key's day."""


Spans = Mapping[str, Mapping[str, tuple[date, date]]]
"""First and last day of each currency, by source and code."""


class NewestDay(NamedTuple):
    """The newest day of a source, until a day that was asked for."""

    day: date
    recorded_at: datetime
    """When a refresh brought it; long ago if it was imported."""
    source: str


class _Candidate(NamedTuple):
    """A source that quotes some of the currencies looked for."""

    newest: NewestDay
    lately: set[str]
    """Those of the currencies looked for whose last day is at most ``LONGEST_PAUSE`` before the newest."""
    ever: int
    """Number of the currencies looked for that the source has on any day."""

    @property
    def key(self) -> DayKey:
        """The newest day."""
        return DayKey(self.newest.source, self.newest.day)


async def find_rates(data: Snapshot, wanted: Set[str], *, on: date | None = None, source: str | None = None) -> Quoted:
    """Find the rates of some currencies that are in force on a day.

    They are those of the newest day on which a source quotes all of them, but
    at most ``LONGEST_PAUSE`` before that source's own newest day: a currency
    that it left out for longer has no rate from it. If no source has such a
    day, because it quotes some currencies later than others, each currency has
    its newest rate of that time, and the key has the oldest of their days.

    Of several sources with that day, the one that was refreshed last; imported
    days come after these.

    Args:
        data: The stored rates.
        wanted: Currencies that the answer needs. If no source quotes all of them, the rates are those of one that
            quotes most.
        on: Only days on or before this one; None is any day.
        source: Only this source.

    Raises:
        RatesNotFound: There is no such day.
    """
    on = on or date.max
    candidates = await _candidates(data, wanted, on, source)
    best_first = sorted(candidates, key=lambda each: (len(each.lately), *each.newest), reverse=True)
    newest = best_first[0].key if best_first else await _newest_day(data, on, source)
    rates = await data.read(read_rates, newest)
    if rates.keys() >= wanted:
        return Quoted(newest, {code: rates[code] for code in wanted})
    # A currency is missing on the newest day: the source quotes it on others, left it out, or rejected its rate.
    complete = [each.key for each in best_first if len(each.lately) == len(wanted)] or [newest]
    return _newest_with_all(complete, wanted, await data.read(_shortly_before, tuple(complete), frozenset(wanted)))


async def find_table(data: Snapshot, base: str, *, on: date | None = None, source: str | None = None) -> Quoted:
    """Find all rates that are in force on a day, of one source that quotes the base.

    Its newest day is the key's, and each currency has its newest rate of at
    most ``LONGEST_PAUSE`` before. Of several sources with that day, the one
    that quotes the most currencies then, and then the one that was refreshed
    last. A source that has only a few late rates then does not count, nor does
    that time of it.

    Args:
        data: The stored rates.
        base: The currency that must be among them. If no source quotes it, the rates are those of the newest day.
        on: Only days on or before this one; None is any day.
        source: Only this source.

    Raises:
        RatesNotFound: There is no such day.
    """
    until, sparse = on or date.max, None
    while candidates := await _candidates(data, {base}, until, source, everything=True):
        quoting = [each for each in candidates if base in each.lately] or candidates
        quoting.sort(key=lambda each: (each.newest.day, len(each.lately), *each.newest), reverse=True)
        for candidate in quoting:
            found = await _read_table(data, candidate)
            if len(found.rates) * SPARSE >= candidate.ever:
                return found
        sparse = quoting[0].newest.day
        until = sparse - LONGEST_PAUSE - timedelta(days=1)
    if sparse is None:
        newest = await _newest_day(data, until, source)
        return Quoted(newest, await data.read(read_rates, newest))
    stored = describe_stored(await data.read(load_spans), source)
    raise RatesNotFound(f"{stored}, around {sparse} only of a few currencies")


async def quoted_with(
    data: Snapshot, base: str, codes: Set[str], *, on: date | None = None, source: str | None = None
) -> Set[str]:
    """The base and those of some currencies for which :func:`find_rates` has a source that quotes both."""
    candidates = await _candidates(data, {base, *codes}, on or date.max, source, code=base)
    return set().union(*(each.lately for each in candidates if base in each.lately))


async def _read_table(data: Snapshot, candidate: _Candidate) -> Quoted:
    rates = await data.read(read_rates, candidate.key)
    missing = candidate.lately - rates.keys()
    if not missing:
        return Quoted(candidate.key, rates)
    older = _newest_of_each(await data.read(_shortly_before, (candidate.key,), frozenset(missing)))
    merged = {**rates, **{code: rate for code, (_, rate) in older.items()}}
    return Quoted(candidate.key, merged, {code: day for code, (day, _) in older.items()})


async def _candidates(
    data: Snapshot,
    codes: Set[str],
    on: date,
    source: str | None,
    *,
    code: str | None = None,
    everything: bool = False,
) -> list[_Candidate]:
    """The sources that have ever quoted ``code``, None for any of ``codes``, with their currencies: these, or all."""
    spans, found = await data.read(load_spans), []
    for newest in await data.read(load_newest_days, on):
        known = spans.get(newest.source, {})
        if source not in (None, newest.source) or (code or min(codes)) not in known:
            continue
        looked_for = known if everything else codes & known.keys()
        begun = [each for each in looked_for if known[each][0] <= on]
        if begun or everything:
            lately = {each for each in begun if known[each][1] >= newest.day - LONGEST_PAUSE}
            found.append(_Candidate(newest, lately, len(looked_for)))
    return found


async def _newest_day(data: Snapshot, on: date, source: str | None) -> DayKey:
    """The newest day on or before ``on``, of this source or of all; raises RatesNotFound if there is none."""
    found = [newest for newest in await data.read(load_newest_days, on) if source in (None, newest.source)]
    if not found:
        raise RatesNotFound(describe_stored(await data.read(load_spans), source))
    return DayKey(max(found).source, max(found).day)


async def load_newest_days(session: AsyncSession, on: date) -> Sequence[NewestDay]:
    """Read the newest day of each source on or before a day."""
    found = await execute(session, _newest_days(), {"on": on})
    return [NewestDay(day, recorded_at or _NEVER, source) for source, day, recorded_at in found]


@cache
def _newest_days() -> Any:
    # A look-up by key for each source: GROUP BY would read every day.
    known, each = select_columns(CurrencySpan.source).distinct().subquery(), aliased(RateDay)
    newest = select_columns(each.day).where(col(each.source) == known.c.source, col(each.day) <= bindparam("on"))
    newest = newest.order_by(col(each.day).desc()).limit(1).correlate(known)
    is_newest = and_(col(RateDay.source) == known.c.source, col(RateDay.day) == newest.scalar_subquery())
    return select_columns(RateDay.source, RateDay.day, RateDay.recorded_at).join_from(known, RateDay, is_newest)


async def load_spans(session: AsyncSession) -> Spans:
    """Read the first and last day of every currency."""
    query = select_columns(CurrencySpan.source, CurrencySpan.quote, CurrencySpan.first_day, CurrencySpan.last_day)
    spans: dict[str, dict[str, tuple[date, date]]] = defaultdict(dict)
    for source, code, first, last in await execute(session, query):
        spans[source][code] = (first, last)
    return dict(spans)


Rows = Sequence[tuple[str, date, str, float]]
"""Source, day, code and rate, in the order of the days."""


async def _shortly_before(session: AsyncSession, keys: Iterable[DayKey], codes: Set[str]) -> Rows:
    """The rates of some currencies up to each source's day, for at most ``LONGEST_PAUSE``."""
    source, day = col(ExchangeRate.source), col(ExchangeRate.day)
    shortly_before = [and_(source == key.source, day.between(key.day - LONGEST_PAUSE, key.day)) for key in keys]
    query = select_columns(source, day, ExchangeRate.quote, ExchangeRate.rate)
    query = query.where(or_(*shortly_before), col(ExchangeRate.quote).in_(codes)).order_by(day)
    return [tuple(row) for row in await execute(session, query)]


def _newest_of_each(rows: Rows) -> dict[str, tuple[date, float]]:
    return {code: (day, rate) for _, day, code, rate in rows}


def _newest_with_all(best_first: Sequence[DayKey], wanted: Set[str], rows: Rows) -> Quoted:
    """The newest day with all currencies; else each one's newest rate, of the source with the newest such rates."""
    found: list[tuple[bool, bool, date, int, Quoted]] = []
    for number, key in enumerate(best_first):
        of_source = [row for row in rows if row[0] == key.source]
        by_day: dict[date, dict[str, float]] = {}
        for _, day, code, rate in of_source:
            by_day.setdefault(day, {})[code] = rate
        common = [day for day, rates in by_day.items() if rates.keys() >= wanted]
        if common:
            together = Quoted(DayKey(key.source, max(common)), by_day[max(common)])
            found.append((True, True, max(common), -number, together))
        else:
            newest = _newest_of_each(of_source)
            # Without all of the currencies it is for an error, which names the day that was looked at.
            is_whole = newest.keys() >= wanted
            oldest = min(day for day, _ in newest.values()) if is_whole else key.day
            mixed = Quoted(
                DayKey(key.source, oldest),
                {code: rate for code, (_, rate) in newest.items()},
                {code: day for code, (day, _) in newest.items() if day != oldest},
            )
            found.append((is_whole, False, oldest, -number, mixed))
    return max(found, key=lambda each: each[:4])[-1]


def describe_stored(spans: Spans, source: str | None = None) -> str:
    """Say which rates are stored, of this source or of all, for a client that asked for others."""
    whose = f" of the source {source}" if source is not None else ""
    of_source = [span for name, known in spans.items() if source in (None, name) for span in known.values()]
    if of_source:
        first, last = min(first for first, _ in of_source), max(last for _, last in of_source)
        return f"Rates{whose} are stored from {first} to {last}"
    if source is not None:
        return f"No rates{whose} are stored; sources are: {', '.join(sorted(spans)) or 'none'}"
    return "No rates are stored; POST /countries/refresh brings the day's"


async def read_rates(session: AsyncSession, key: DayKey) -> Mapping[str, float]:
    """Read the rates of one day by currency code, sorted."""
    query = select_columns(ExchangeRate.quote, ExchangeRate.rate).order_by(col(ExchangeRate.quote))
    query = query.where(col(ExchangeRate.source) == key.source, col(ExchangeRate.day) == key.day)
    return dict((await execute(session, query)).all())
