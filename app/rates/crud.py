"""Queries of exchange rates: the rates of a day, and conversions."""

from collections.abc import Mapping, Set
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from app.core.db.snapshots import Snapshot
from app.core.http.numbers import Decimals, exact, write_decimal
from app.rates.euro import EURO, FixedRate, apply_fixed, fixed_by, to_quote
from app.rates.exchange import convert, cross_rate, to_minor_unit
from app.rates.in_force import DayKey, find_rates, find_table, quoted_with
from app.rates.quoted import require_quoted
from app.rates.schemas import Conversion, ConversionQuery, RatesPublic, RatesQuery
from app.sources import reference
from app.sources.rates import ATTRIBUTIONS


class DayRates(NamedTuple):
    """The rates of one day and source, with the irrevocable euro rates in place of quotes."""

    key: DayKey
    rates: Mapping[str, Decimal]
    """Units per unit of the source's base, by code."""
    fixed: Mapping[str, FixedRate]
    """The irrevocable rates among them."""
    other_days: Mapping[str, date]
    """The days of those rates that are not of the key's day."""

    def day_of(self, *codes: str) -> date:
        """The oldest day of some of the rates, which is that of a cross rate."""
        return min(self.other_days.get(code, self.key.day) for code in codes)


async def get_rates(data: Snapshot, query: RatesQuery, *, today: date, on: date | None = None) -> RatesPublic:
    """The rates in force on a day, or the latest, against any base.

    Raises:
        RatesNotFound: No rates are stored, or only later ones.
        ValidationFailed: The source does not quote one of the currencies.
    """
    symbols = query.wanted
    wanted = {query.base, *(symbols or ())}
    found = await _find_day(data, wanted, everything=not symbols, on=on, today=today, source=query.source)
    await require_quoted(data, {"base": [query.base], "symbols": symbols or ()}, found.rates, found.key)
    key, rates = found.key, found.rates
    codes, day = sorted(symbols or rates), found.day_of(query.base)
    return RatesPublic(
        base=query.base,
        date=day,
        age_days=_age(day, today),
        older={code: found.day_of(code) for code in codes if found.day_of(code) < day},
        source=key.source,
        attribution=ATTRIBUTIONS.get(key.source),
        fixed=write_fixed(found.fixed, query.decimals),
        rates={code: write_decimal(cross_rate(rates[query.base], rates[code]), query.decimals) for code in codes},
    )


async def get_conversions(data: Snapshot, query: ConversionQuery, *, today: date) -> list[Conversion]:
    """Convert an amount to one or more currencies, by the rates in force on a day, or the latest.

    All rates are of one source, and of one day if it has one with all currencies. If no source quotes all currencies
    together, each conversion is what it would be alone.

    Raises:
        RatesNotFound: No rates are stored, or only later ones.
        ValidationFailed: No source quotes both currencies of a conversion.
    """
    base, targets = query.base, query.targets

    async def find(*quotes: str) -> DayRates:
        return await _find_day(data, {base, *quotes}, on=query.on, today=today, source=query.source)

    together = await find(*targets)
    is_whole = len(targets) == 1 or together.rates.keys() >= {base, *targets}
    if not is_whole:
        await _refuse_unquoted(data, query, together.key, today)
    conversions = []
    for quote in targets:
        found = together if is_whole else await find(quote)
        await require_quoted(data, {"from": [base], "to": [quote]}, found.rates, found.key)
        conversions.append(_convert(query, quote, found, today))
    return conversions


async def _refuse_unquoted(data: Snapshot, query: ConversionQuery, key: DayKey, today: date) -> None:
    """Refuse targets that no source quotes with the base, before each target is looked up alone."""
    base, targets = query.base, query.targets
    fixed = fixed_by({base, *targets}, query.on or today)
    (base_code,) = to_quote({base}, fixed)
    known = await quoted_with(data, base_code, to_quote(targets, fixed), on=query.on, source=query.source)
    quoted = {code for code in (base, *targets) if to_quote({code}, fixed) <= known}
    await require_quoted(data, {"from": [base], "to": targets if base in quoted else []}, quoted, key)


def _convert(query: ConversionQuery, quote: str, found: DayRates, today: date) -> Conversion:
    rate, day = cross_rate(found.rates[query.base], found.rates[quote]), found.day_of(query.base, quote)
    result, by_law = convert(query.amount, rate), found.fixed
    currency = reference.currencies().get(quote)
    digits = currency.minor_units if currency else None
    return Conversion(
        base=query.base,
        quote=quote,
        amount=write_decimal(query.amount, query.decimals),
        result=write_decimal(result, query.decimals),
        rounded=None if digits is None else write_decimal(to_minor_unit(result, digits), query.decimals, places=digits),
        rate=write_decimal(rate, query.decimals),
        date=day,
        age_days=_age(day, today),
        source=found.key.source,
        attribution=ATTRIBUTIONS.get(found.key.source),
        fixed=write_fixed({code: by_law[code] for code in (query.base, quote) if code in by_law}, query.decimals),
    )


def _age(day: date, today: date) -> int:
    # A source may be a day ahead of UTC.
    return max((today - day).days, 0)


def write_fixed(fixed: Mapping[str, FixedRate], decimals: Decimals) -> dict[str, float | str] | None:
    """The irrevocable rates of a response by code, sorted; None if there are none."""
    return {code: write_decimal(fixed[code].per_euro, decimals) for code in sorted(fixed)} or None


async def _find_day(
    data: Snapshot,
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
    if everything:
        (base,) = needed
        found = await find_table(data, base, on=on, source=source)
    else:
        found = await find_rates(data, needed, on=on, source=source)
    fixed = fixed_by({*found.rates, *wanted}, day)
    rates = apply_fixed({code: exact(rate) for code, rate in found.rates.items()}, fixed)
    in_use = {code: rate for code, rate in fixed.items() if code in rates}
    days = dict(found.other_days)
    for code in in_use:
        days[code] = found.other_days.get(EURO, found.key.day)
    return DayRates(found.key, rates, in_use, days)
