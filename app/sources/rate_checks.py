"""What speaks against a rate: a jump since the last known one, or a deviation from a peg. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date, timedelta
from math import prod
from typing import Final, NamedTuple

from app.sources import reference
from app.sources.chain import SourceFailed
from app.sources.rate_days import LONGEST_PAUSE
from app.sources.rate_shapes import Quotes

TENFOLD: Final = 10.0
_CONFIRMING: Final = 2.0
"""How many times larger or smaller another source's rate may be to confirm one; sources disagree by a third at most."""
_LATE_CHANGE: Final = timedelta(days=730)
"""How long after a redenomination a source may go on quoting the old unit."""
_MOST_NEEDED: Final = 10
"""How many rates are enough for a day to be that of an answer."""
_BASELINE_AGE: Final = timedelta(days=365)
"""How far apart a first rate and a bundled one may be to be compared: inflation changes rates tenfold within years."""


class KnownRate(NamedTuple):
    """A rate for one US dollar, and the day that its source gave it."""

    rate: float
    day: date


class Deviation(NamedTuple):
    """A rate outside its peg's margin or its band."""

    code: str
    base: str
    rate: float
    """Units of ``code`` per unit of ``base``, as the source quotes them."""
    expected: float
    """The same by the peg, or in the middle of the band."""


def known_rates(quotes: Quotes) -> dict[str, KnownRate]:
    """The rates of an answer by code, each with its own day."""
    return {code: KnownRate(rate, quotes.days.get(code, quotes.day)) for code, rate in quotes.rates.items()}


def newest_day(rates: Mapping[str, KnownRate], *, max_age: timedelta) -> date:
    """The day of a set of rates: the newest one that at least half of them, or ten, are not much older than.

    So neither a single newer rate makes old ones current, nor do many that a source has stopped quoting make it old.

    Args:
        rates: By code; at least one.
        max_age: How much older than that day a rate may be.
    """
    days = _days_of(rates)
    needed = min((len(days) + 1) // 2, _MOST_NEEDED)
    return max(day for day in set(days) if sum(day - other <= max_age for other in days) >= needed)


def are_old(rates: Mapping[str, KnownRate], *, oldest: date) -> bool:
    """Whether more than half of the rates are of days before ``oldest``."""
    days = _days_of(rates)
    return sum(day < oldest for day in days) * 2 > len(days)


def _days_of(rates: Mapping[str, KnownRate]) -> list[date]:
    """The days of all rates but the US dollar's, which has the newest one; its own if there is no other."""
    return [known.day for code, known in rates.items() if code != "USD"] or [known.day for known in rates.values()]


def find_jumps(quotes: Quotes, previous: Mapping[str, KnownRate], *, accepted: Collection[str] = ()) -> dict[str, str]:
    """Find rates that differ more than tenfold from what the last known ones lead to expect.

    Known redenominations are taken into account. The first rate of a currency
    that had one is compared with the bundled rate, because a source may still
    quote the old unit.

    Args:
        quotes: A source's answer.
        previous: The same source's last rates by code.
        accepted: Currencies whose rate is believed in any case.

    Returns:
        The reason of each, by code.

    Raises:
        SourceFailed: All rates that have a previous one jumped, so the source itself must have changed, such as its
            base.
    """
    baseline = _baseline()
    jumps = {}
    for code, new in known_rates(quotes).items():
        old = previous.get(code)
        if code in accepted:
            continue
        if old is None:
            first = baseline.get(code)
            if first and abs(new.day - first.day) <= _BASELINE_AGE and not _follows(code, new, first, None):
                jumps[code] = (
                    f"its first rate, {new.rate:g}, differs more than tenfold from the bundled one, {first.rate:g}, of "
                    f"this redenominated currency; force={code} accepts it"
                )
        elif not _follows(code, new, old, baseline.get(code)):
            jumps[code] = _reason(code, new, old)
    comparable = (quotes.rates.keys() & previous.keys()) - {"USD"}
    # Whatever redenominations explain: if all changed, the factor of one of them may fit by chance.
    if jumps and all(not _near(quotes.rates[code], previous[code].rate, TENFOLD) for code in comparable) and comparable:
        raise SourceFailed("answered with rates that all changed more than tenfold; force=true accepts them")
    return jumps


def is_confirmed(code: str, quotes: Quotes, other: Quotes) -> bool:
    """Whether another source quotes about the same rate, of about the same day."""
    rate, confirming = known_rates(quotes)[code], known_rates(other).get(code)
    if confirming is None or rate.day - confirming.day > LONGEST_PAUSE:
        return False
    return _near(confirming.rate, rate.rate, _CONFIRMING)


def without(quotes: Quotes, jumps: Mapping[str, str]) -> Quotes:
    """Quotes without some rates, which are reported as skipped."""
    rates = {code: rate for code, rate in quotes.rates.items() if code not in jumps}
    return replace(quotes, rates=rates, skipped=(*quotes.skipped, *jumps.items()))


def find_deviations(quotes: Quotes) -> list[Deviation]:
    """Hold the rates against all known pegs and bands; only rates of the same day are compared."""
    quoted = known_rates(quotes)
    found = []
    for peg in reference.pegs():
        code, base = quoted.get(peg.code), quoted.get(peg.base)
        if code is None or base is None or (peg.base != "USD" and code.day != base.day):
            continue
        rate, expected = code.rate / base.rate, float(peg.rate)
        if abs(rate / expected - 1) > float(peg.margin):
            found.append(Deviation(peg.code, peg.base, float(f"{rate:.12g}"), expected))
    return found


def _follows(code: str, new: KnownRate, old: KnownRate, baseline: KnownRate | None) -> bool:
    """Whether a rate is within tenfold of an older one, in the units of its own day.

    ``baseline`` is the bundled rate, which tells whether the older one is in new units already; None if nothing does.
    """
    if _near(new.rate, old.rate / _factor_between(code, old.day, new.day), TENFOLD):
        return True
    if baseline and abs(old.day - baseline.day) <= _BASELINE_AGE:
        in_new_units = baseline.rate / _factor_between(code, baseline.day, new.day)
        if _near(old.rate, in_new_units, TENFOLD):
            return False
    # The source still quoted the old unit on the day of the old rate.
    late = _factor_between(code, new.day - _LATE_CHANGE, new.day)
    return late != 1 and _near(new.rate, old.rate / late, TENFOLD)


def _near(rate: float, other: float, times: float) -> bool:
    return other / times <= rate <= other * times


def _factor_between(code: str, first: date, last: date) -> float:
    """Units of a currency on the first day per unit on the last one; less than 1 if the last day is the earlier one."""
    if last < first:
        return 1 / _factor_between(code, last, first)
    return prod(each.factor for each in reference.redenominations() if each.code == code and first < each.day <= last)


def _reason(code: str, new: KnownRate, old: KnownRate) -> str:
    factor = _factor_between(code, old.day, new.day)
    if factor == 1:
        return f"its rate changed more than tenfold, from {old.rate:g} to {new.rate:g}; force={code} accepts it"
    return (
        f"its rate went from {old.rate:g} to {new.rate:g} across a redenomination, after which about "
        f"{old.rate / factor:g} was expected; force={code} accepts it"
    )


def _baseline() -> dict[str, KnownRate]:
    """The bundled rates of currencies that were redenominated."""
    bundled = reference.rates()
    return {
        code: KnownRate(bundled.rates[code], bundled.days.get(code, bundled.day))
        for code in {found.code for found in reference.redenominations()} & bundled.rates.keys()
    }
