"""The rates in force on a day: which source and day they are of."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam
from sqlalchemy.orm import aliased
from sqlmodel import and_, col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.queries import execute, select_columns
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


class _Candidate(NamedTuple):
    """A source and its newest day."""

    key: DayKey
    recorded_at: datetime
    lately: set[str]
    """Those of the currencies looked for whose last day is at most ``LONGEST_PAUSE`` before the key's."""
    ever: set[str]
    """Those of the currencies looked for that the source has on any day."""


async def find_rates(
    session: AsyncSession, wanted: Set[str], *, on: date | None = None, source: str | None = None
) -> Quoted:
    """Find the rates of some currencies that are in force on a day.

    They are those of the newest day on which a source quotes all of them, but
    at most ``LONGEST_PAUSE`` before that source's own newest day: a currency
    that it left out for longer has no rate from it. If no source has such a
    day, because it quotes some currencies later than others, each currency has
    its newest rate of that time, and the key has the oldest of their days.

    Of several sources with that day, the one that was refreshed last; imported
    days come after these.

    Args:
        session: For reading.
        wanted: Currencies that the answer needs. If no source quotes all of them, the rates are those of one that
            quotes most.
        on: Only days on or before this one; None is any day.
        source: Only this source.

    Raises:
        RatesNotFound: There is no such day.
    """
    on = on or date.max
    candidates = await _candidates(session, wanted, on, source)
    best_first = sorted(candidates, key=lambda each: (len(each.lately), *_newest_first(each)), reverse=True)
    newest = best_first[0].key if best_first else await _newest_day(session, on, source)
    rates = await read_rates(session, newest, wanted)
    if rates.keys() >= wanted:
        return Quoted(newest, rates)
    # A currency is missing on the newest day: the source quotes it on others, left it out, or rejected its rate.
    complete = [each.key for each in best_first if len(each.lately) == len(wanted)] or [newest]
    return _newest_with_all(complete, wanted, await _shortly_before(session, complete, wanted))


async def find_table(session: AsyncSession, base: str, *, on: date | None = None, source: str | None = None) -> Quoted:
    """Find all rates that are in force on a day, of one source that quotes the base.

    Its newest day is the key's, and each currency has its newest rate of at
    most ``LONGEST_PAUSE`` before. Of several sources with that day, the one
    that quotes the most currencies then, and then the one that was refreshed
    last. A source that has only a few late rates then does not count, nor does
    that time of it.

    Args:
        session: For reading.
        base: The currency that must be among them. If no source quotes it, the rates are those of the newest day.
        on: Only days on or before this one; None is any day.
        source: Only this source.

    Raises:
        RatesNotFound: There is no such day.
    """
    until, sparse = on or date.max, None
    while candidates := await _candidates(session, {base}, until, source, everything=True):
        quoting = [each for each in candidates if base in each.lately] or candidates
        by_size = [(each.key.day, len(each.lately), *_newest_first(each)) for each in quoting]
        for _, candidate in sorted(zip(by_size, quoting, strict=True), key=lambda pair: pair[0], reverse=True):
            found = await _read_table(session, candidate)
            if len(found.rates) * SPARSE >= len(candidate.ever):
                return found
        sparse = max(each.key.day for each in quoting)
        until = sparse - LONGEST_PAUSE - timedelta(days=1)
    if sparse is None:
        newest = await _newest_day(session, until, source)
        return Quoted(newest, await read_rates(session, newest))
    raise RatesNotFound(f"{await describe_stored(session, source)}, around {sparse} only of a few currencies")


async def quoted_with(
    session: AsyncSession, base: str, codes: Set[str], *, on: date | None = None, source: str | None = None
) -> Set[str]:
    """The base and those of some currencies for which :func:`find_rates` has a source that quotes both."""
    candidates = await _candidates(session, {base, *codes}, on or date.max, source, code=base)
    return set().union(*(each.lately for each in candidates if base in each.lately))


def _newest_first(candidate: _Candidate) -> tuple[date, datetime, str]:
    return candidate.key.day, candidate.recorded_at, candidate.key.source


async def _read_table(session: AsyncSession, candidate: _Candidate) -> Quoted:
    rates = await read_rates(session, candidate.key)
    missing = candidate.lately - rates.keys()
    if not missing:
        return Quoted(candidate.key, rates)
    older = _newest_of_each(await _shortly_before(session, [candidate.key], missing))
    merged = {**rates, **{code: rate for code, (_, rate) in older.items()}}
    return Quoted(candidate.key, merged, {code: day for code, (day, _) in older.items()})


async def _candidates(
    session: AsyncSession,
    codes: Set[str],
    on: date,
    source: str | None,
    *,
    code: str | None = None,
    everything: bool = False,
) -> list[_Candidate]:
    """The sources that have ever quoted ``code``, None for any of ``codes``, with their currencies: these, or all."""
    query = _spans_query(of_source=source is not None, of_codes=not everything)
    wanted = {"codes": list(codes), "code": code or min(codes), "on": on, "source": source}
    found: dict[DayKey, _Candidate] = {}
    for name, day, recorded_at, quote, first_day, last_day in await execute(session, query, wanted):
        key = DayKey(name, day)
        candidate = found.setdefault(key, _Candidate(key, recorded_at or _NEVER, set(), set()))
        candidate.ever.add(quote)
        if first_day <= on and last_day >= day - LONGEST_PAUSE:
            candidate.lately.add(quote)
    return list(found.values())


@cache
def _spans_query(*, of_source: bool, of_codes: bool) -> Any:
    """Select the newest day of each source that has ever quoted ``code``, with the spans of its currencies."""
    one, each = aliased(CurrencySpan), aliased(CurrencySpan)
    newest = select_columns(RateDay.day).where(col(RateDay.source) == one.source, col(RateDay.day) <= bindparam("on"))
    newest = newest.order_by(col(RateDay.day).desc()).limit(1).correlate(one)
    query = select_columns(
        RateDay.source, RateDay.day, RateDay.recorded_at, each.quote, each.first_day, each.last_day
    ).select_from(one)
    query = query.join(
        RateDay, and_(col(RateDay.source) == one.source, col(RateDay.day) == newest.scalar_subquery())
    ).join(each, col(each.source) == one.source)
    query = query.where(col(one.quote) == bindparam("code"))
    if of_codes:
        query = query.where(
            col(each.quote).in_(bindparam("codes", expanding=True)), col(each.first_day) <= bindparam("on")
        )
    return query.where(col(one.source) == bindparam("source")) if of_source else query


async def _newest_day(session: AsyncSession, on: date, source: str | None) -> DayKey:
    """The newest day on or before ``on``, of this source or of all; raises RatesNotFound if there is none."""
    query = select_columns(RateDay.source, RateDay.day).where(col(RateDay.day) <= on).limit(1)
    day, recorded_at, name = col(RateDay.day).desc(), col(RateDay.recorded_at).desc(), col(RateDay.source).desc()
    # Both orders are those of an index. Imported days, which have NULL, come last.
    if source is None:
        query = query.order_by(day, recorded_at, name)
    else:
        query = query.where(col(RateDay.source) == source).order_by(day)
    row = (await execute(session, query)).first()
    if row is None:
        raise RatesNotFound(await describe_stored(session, source))
    return DayKey(*row)


Rows = Sequence[tuple[str, date, str, float]]
"""Source, day, code and rate, in the order of the days."""


async def _shortly_before(session: AsyncSession, keys: Iterable[DayKey], codes: Collection[str]) -> Rows:
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


async def describe_stored(session: AsyncSession, source: str | None = None) -> str:
    """Say which rates are stored, of this source or of all, for a client that asked for others."""
    query = select_columns(func.min(RateDay.day), func.max(RateDay.day))
    if source is not None:
        query = query.where(col(RateDay.source) == source)
    first, last = (await execute(session, query)).one()
    whose = f" of the source {source}" if source is not None else ""
    if first is None and source is not None:
        names = (await session.exec(select(RateDay.source).distinct().order_by(col(RateDay.source)))).all()
        return f"No rates{whose} are stored; sources are: {', '.join(names) or 'none'}"
    if first is None:
        return "No rates are stored; POST /countries/refresh brings the day's"
    return f"Rates{whose} are stored from {first} to {last}"


async def read_rates(session: AsyncSession, key: DayKey, codes: Collection[str] | None = None) -> dict[str, float]:
    """Read the rates of one day by currency code, sorted; of these codes if they are quoted, or of all."""
    query = select_columns(ExchangeRate.quote, ExchangeRate.rate).order_by(col(ExchangeRate.quote))
    query = query.where(col(ExchangeRate.source) == key.source, col(ExchangeRate.day) == key.day)
    if codes is not None:
        query = query.where(col(ExchangeRate.quote).in_(codes))
    return dict((await execute(session, query)).all())
