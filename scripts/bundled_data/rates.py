"""Builds rates.json, and refuses rates that cannot be right."""

import math
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

from scripts.bundled_data.packages import read_json

PACKAGE: Final = "@fawazahmed0/currency-api"
EARLIER_VERSION: Final = "2026.7.4"
"""Rates known to be right, against which the day's rates are held. Move it on once a year."""
MOVES: Final = {"BOB": "left its peg to the US dollar in mid-2026"}
"""Money that moved more than ``_MOVE`` since that version, with the reason."""

_MOVE: Final = 1.5
_TENFOLD: Final = 10.0
_DERIVED_MARGIN: Final = 0.005


def read_rates(tarball: Path) -> tuple[date, dict[str, float]]:
    """The day and its rates in units per US dollar, three-letter codes only.

    Raises:
        ValueError: A rate is not a positive number, or the US dollar is not 1.
    """
    day = date.fromisoformat(str(read_json(tarball, "v1/currencies/usd.json", "date")))
    listed = read_json(tarball, "v1/currencies/usd.json", "usd")
    rates = {code.upper(): rate for code, rate in sorted(listed.items()) if re.fullmatch("[a-z]{3}", code)}
    for code, rate in rates.items():
        if not (type(rate) in (int, float) and math.isfinite(rate) and rate > 0):
            raise ValueError(f"{tarball.name}: the rate of {code} is {rate!r}")
    if rates.get("USD") != 1:
        raise ValueError(f"{tarball.name}: the US dollar is not 1")
    return day, rates


def build_rates(latest: Path, earlier: Path, own: Mapping[str, Any]) -> dict[str, Any]:
    """The day's rates of current currencies, funds, metals and cryptocurrencies.

    Historic currencies are left out: the feed quotes some as if they were in use. A current currency that the feed
    quotes in units from before a redenomination gets the earlier version's rate, with its day in ``days``. A
    cryptocurrency that changed more than tenfold is left out, because another coin may have its code now.

    Args:
        latest: The tarball of the version to take.
        earlier: The tarball of ``EARLIER_VERSION``.
        own: The content of currencies.json.

    Raises:
        ValueError: A rate fails one of the gates.
    """
    currencies = own["currencies"]
    day, quoted = read_rates(latest)
    earlier_day, before = read_rates(earlier)
    check_derived(quoted, currencies)
    rates: dict[str, float] = {}
    days: dict[str, str] = {}
    for code, rate in quoted.items():
        kind = currencies[code]["kind"] if code in currencies else None
        if kind is None or kind == "historic":
            continue
        change = rate / before[code] if code in before else 1.0
        if 1 / _TENFOLD <= change <= _TENFOLD:
            rates[code] = rate
        elif kind != "crypto":
            if _is_redenominated(code, change, (earlier_day, day), own["redenominations"]):
                rates[code] = rate
            else:
                rates[code] = before[code]
                days[code] = earlier_day.isoformat()
    check_pegs(rates, own["pegs"])
    check_moves(rates, before, own)
    version = read_json(latest, "package.json", "version")
    # The package names no licence; its repository holds the text of CC0.
    source = {"name": "currency-api", "version": version, "licence": "CC0-1.0"}
    return {"date": day.isoformat(), "days": days, "source": source, "base": "USD", "rates": rates}


def _is_redenominated(code: str, change: float, days: tuple[date, date], redenominations: list[dict[str, Any]]) -> bool:
    """Whether a jump is a redenomination between two days; False if the later quote is in units from before one.

    Raises:
        ValueError: No known redenomination explains it.
    """
    earlier, later = days
    for known in redenominations:
        day, factor = date.fromisoformat(known["day"]), known["factor"]
        if known["code"] != code:
            continue
        if earlier < day <= later and 1 / _MOVE <= change * factor <= _MOVE:
            return True
        if day <= earlier and 1 / _MOVE <= change / factor <= _MOVE:
            return False
    raise ValueError(f"{code} changed {change:,.4g} times since {earlier}, and no known redenomination explains it")


def check_pegs(rates: Mapping[str, float], pegs: list[dict[str, str]]) -> None:
    """Refuse rates that break a peg or leave its band."""
    for peg in pegs:
        code, base, rate = peg["code"], peg["base"], float(peg["rate"])
        if code not in rates or base not in rates:
            continue
        quoted = rates[code] / rates[base]
        if abs(quoted / rate - 1) > float(peg["margin"]):
            raise ValueError(f"{code} is {quoted:.6g} per {base}, and pegged at {rate:g}")


def check_derived(rates: Mapping[str, float], currencies: Mapping[str, Any]) -> None:
    """Refuse a feed whose historic euro currencies do not follow from its euro by the irrevocable rates."""
    for code, facts in currencies.items():
        if "fixed_since" in facts and code in rates:
            fixed = float(facts["factor"])
            quoted = rates[code] / rates["EUR"]
            if abs(quoted / fixed - 1) > _DERIVED_MARGIN:
                raise ValueError(f"{code} is {quoted:.6g} per EUR, and fixed at {fixed:g}")


def check_moves(rates: Mapping[str, float], before: Mapping[str, float], own: Mapping[str, Any]) -> None:
    """Refuse money that moved by half since the earlier version, unless the reason is listed or it is redenominated."""
    known = MOVES.keys() | {row["code"] for row in own["redenominations"]}
    for code, rate in rates.items():
        if own["currencies"][code]["kind"] == "crypto" or code not in before or code in known:
            continue
        if not 1 / _MOVE <= rate / before[code] <= _MOVE:
            raise ValueError(
                f"{code} went from {before[code]:g} to {rate:g}; if that is right, list it with its reason"
            )
