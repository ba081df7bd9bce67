"""Queries of exchange rates: the rates of a day, and conversions."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam
from sqlalchemy.orm import aliased
from sqlmodel import and_, col, func, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.queries import execute, select_columns
from app.core.errors import AppError, ValidationFailed
from app.core.http.numbers import Decimals, exact, write_decimal
from app.rates.euro import FixedRate, apply_fixed, fixed_by, to_quote
from app.rates.exchange import convert, cross_rate, to_minor_unit
from app.rates.models import CurrencySpan, ExchangeRate, RateDay
from app.rates.schemas import Conversion, ConversionQuery, RatesPublic, RatesQuery
from app.sources import reference
from app.sources.rates import ATTRIBUTIONS

LONGEST_PAUSE: Final = timedelta(days=7)
"""How long a currency may be missing before its source counts as having stopped quoting it.

Sources pause over weekends and holidays; the longest pause of the European Central Bank was five days.
"""
_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class RatesNotFound(AppError):
    """No rates are stored for the request."""

    status_code = 404
    title = "Rates not found"


class DayKey(NamedTuple):
    """One day of one source."""

    source: str
    day: date


class DayRates(NamedTuple):
    """The rates of one day and source, with the irrevocable euro rates in place of quotes."""

    key: DayKey
    rates: Mapping[str, Decimal]
    """Units per unit of the source's base, by code."""
    fixed: Mapping[str, FixedRate]
    """The irrevocable rates among them."""


async def get_rates(session: AsyncSession, query: RatesQuery, *, today: date, on: date | None = None) -> RatesPublic:
    """The rates in force on a day, or the latest, against any base.

    Raises:
        RatesNotFound: No rates are stored, or only later ones.
        ValidationFailed: The source does not quote one of the currencies.
    """
    symbols = query.wanted
    wanted = {query.base, *(symbols or ())}
    found = await _find_day(session, wanted, everything=not symbols, on=on, today=today, source=query.source)
    key, rates, fixed = found
    require_quoted({"base": [query.base], "symbols": symbols or ()}, rates, f"by {key.source} on {key.day}")
    base_rate = rates[query.base]
    return RatesPublic(
        base=query.base,
        date=key.day,
        age_days=_age(key, today),
        source=key.source,
        attribution=ATTRIBUTIONS.get(key.source),
        fixed=write_fixed(fixed, query.decimals),
        rates={
            code: write_decimal(cross_rate(base_rate, rates[code]), query.decimals) for code in sorted(symbols or rates)
        },
    )


async def get_conversions(session: AsyncSession, query: ConversionQuery, *, today: date) -> list[Conversion]:
    """Convert an amount to one or more currencies, by the rates in force on a day, or the latest.

    All rates are of one day and source. If no source quotes all currencies together, each conversion is what it would
    be alone.

    Raises:
        RatesNotFound: No rates are stored, or only later ones.
        ValidationFailed: No source quotes both currencies of a conversion.
    """
    base, targets = query.base, query.targets

    async def find(*quotes: str) -> DayRates:
        return await _find_day(session, {base, *quotes}, on=query.on, today=today, source=query.source)

    together = await find(*targets)
    is_whole = len(targets) == 1 or together.rates.keys() >= {base, *targets}
    conversions = []
    for quote in targets:
        found = together if is_whole else await find(quote)
        where = f"by {found.key.source} on {found.key.day}"
        require_quoted({"from": [base], "to": [quote]}, found.rates, where)
        conversions.append(_convert(query, quote, found, today))
    return conversions


def _convert(query: ConversionQuery, quote: str, found: DayRates, today: date) -> Conversion:
    key, rates, fixed = found
    rate = cross_rate(rates[query.base], rates[quote])
    result = convert(query.amount, rate)
    currency = reference.currencies().get(quote)
    digits = currency.minor_units if currency else None
    return Conversion(
        base=query.base,
        quote=quote,
        amount=write_decimal(query.amount, query.decimals),
        result=write_decimal(result, query.decimals),
        rounded=None if digits is None else write_decimal(to_minor_unit(result, digits), query.decimals, places=digits),
        rate=write_decimal(rate, query.decimals),
        date=key.day,
        age_days=_age(key, today),
        source=key.source,
        attribution=ATTRIBUTIONS.get(key.source),
        fixed=write_fixed({code: fixed[code] for code in (query.base, quote) if code in fixed}, query.decimals),
    )


def _age(key: DayKey, today: date) -> int:
    # A source may be a day ahead of UTC.
    return max((today - key.day).days, 0)


def write_fixed(fixed: Mapping[str, FixedRate], decimals: Decimals) -> dict[str, float | str] | None:
    """The irrevocable rates of a response by code, sorted; None if there are none."""
    return {code: write_decimal(fixed[code].per_euro, decimals) for code in sorted(fixed)} or None


async def _find_day(
    session: AsyncSession,
    wanted: Set[str],
    *,
    everything: bool = False,
    on: date | None,
    today: date,
    source: str | None,
) -> DayRates:
    """Find the rates in force on a day, the latest for None; of the wanted currencies, or of everything quoted then.

    A currency that the euro has replaced by that day needs no quote but the euro's.
    """
    day = on or today
    needed = to_quote(wanted, fixed_by(wanted, day))
    key, quoted = await find_rates(session, needed, None if everything else needed, on=on, source=source)
    fixed = fixed_by({*quoted, *wanted}, day)
    rates = apply_fixed({code: exact(rate) for code, rate in quoted.items()}, fixed)
    return DayRates(key, rates, {code: rate for code, rate in fixed.items() if code in rates})


def require_quoted(wanted: Mapping[str, Collection[str]], quoted: Collection[str], where: str) -> None:
    """Raise ValidationFailed if a code is not quoted; ``wanted`` has the codes of each parameter."""
    problems = {
        name: f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not quoted {where}"
        for name, codes in wanted.items()
        if (missing := sorted(code for code in codes if code not in quoted))
    }
    if problems:
        raise ValidationFailed(problems)


async def find_rates(
    session: AsyncSession,
    wanted: Set[str],
    codes: Collection[str] | None,
    *,
    on: date | None = None,
    source: str | None = None,
) -> tuple[DayKey, dict[str, float]]:
    """Find the day whose rates are in force, and read them.

    That is the newest day on which a source quotes all wanted currencies, but
    at most ``LONGEST_PAUSE`` before that source's own newest day: a currency
    that it left out for longer has no rate from it. Of several sources with
    that day, the one that was refreshed last; imported days come after these.

    Args:
        session: For reading.
        wanted: Currencies that the answer needs. If no source quotes all of them, the day is the newest one of a
            source that quotes most.
        codes: Read only these; None reads all.
        on: Only days on or before this one; None is any day.
        source: Only this source.

    Raises:
        RatesNotFound: There is no such day.
    """
    newest, complete = await _sources_that_quote(session, wanted, on or date.max, source)
    if newest is None:
        newest = await _newest_day(session, on or date.max, source)
    rates = await read_rates(session, newest, codes)
    if rates.keys() >= wanted or not complete:
        return newest, rates
    # A currency is missing on the newest day, and was quoted before: the source left it out, or rejected its rate.
    earlier = await _newest_day_with_all(session, wanted, complete)
    return (earlier, await read_rates(session, earlier, codes)) if earlier else (newest, rates)


async def _sources_that_quote(
    session: AsyncSession, codes: Collection[str], on: date, source: str | None
) -> tuple[DayKey | None, list[DayKey]]:
    """Look for the source that quotes the most of these currencies around its newest day on or before ``on``.

    Returns:
        That source's newest day, None if no source has any of the currencies; and the newest day of each source
        that quotes all of them, best first.
    """
    order: dict[DayKey, tuple[date, datetime, str]] = {}
    quoted: Counter[DayKey] = Counter()
    wanted = {"codes": list(codes), "code": min(codes), "on": on, "source": source}
    for name, day, recorded_at, last_day in await execute(session, _spans_query(of_source=source is not None), wanted):
        key = DayKey(name, day)
        order[key] = (day, recorded_at or _NEVER, name)
        quoted[key] += last_day >= day - LONGEST_PAUSE
    best_first = sorted(order, key=lambda key: (quoted[key], order[key]), reverse=True)
    return next(iter(best_first), None), [key for key in best_first if quoted[key] == len(codes)]


@cache
def _spans_query(*, of_source: bool) -> Any:
    """Select the newest day of each source that has ever quoted ``code``, with the last day of each wanted currency."""
    one, each = aliased(CurrencySpan), aliased(CurrencySpan)
    newest = select_columns(RateDay.day).where(col(RateDay.source) == one.source, col(RateDay.day) <= bindparam("on"))
    newest = newest.order_by(col(RateDay.day).desc()).limit(1).correlate(one)
    query = select_columns(RateDay.source, RateDay.day, RateDay.recorded_at, each.last_day).select_from(one)
    query = query.join(
        RateDay, and_(col(RateDay.source) == one.source, col(RateDay.day) == newest.scalar_subquery())
    ).join(each, col(each.source) == one.source)
    query = query.where(
        col(one.quote) == bindparam("code"),
        col(each.quote).in_(bindparam("codes", expanding=True)),
        col(each.first_day) <= bindparam("on"),
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


async def _newest_day_with_all(
    session: AsyncSession, codes: Collection[str], newest: Sequence[DayKey]
) -> DayKey | None:
    """The newest day on which a source quotes all currencies, shortly before its newest day; best sources first."""
    source, day = col(ExchangeRate.source), col(ExchangeRate.day)
    shortly_before = [and_(source == key.source, day.between(key.day - LONGEST_PAUSE, key.day)) for key in newest]
    query = select_columns(source, day).where(or_(*shortly_before), col(ExchangeRate.quote).in_(codes))
    rows = await execute(session, query.group_by(source, day).having(func.count() == len(codes)))
    rank = {key.source: -number for number, key in enumerate(newest)}
    return max((DayKey(*row) for row in rows), key=lambda key: (key.day, rank[key.source]), default=None)


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
