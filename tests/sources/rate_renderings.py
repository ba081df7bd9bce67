"""A table of rates in the format of each API, and what the service must read from it."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

TODAY = date(2026, 11, 21)


class Table(NamedTuple):
    base: str
    day: date
    rates: dict[str, str]
    """Decimal units of each currency for one unit of the base, without the base itself."""

    def per_dollar(self) -> dict[str, float]:
        """Every rate for one US dollar, rounded once."""
        exact = {code: Fraction(rate) for code, rate in self.rates.items()} | {self.base: Fraction(1)}
        return {code: float(rate / exact["USD"]) for code, rate in exact.items()}


def _numbers(table: Table) -> dict[str, float]:
    return {code: float(rate) for code, rate in table.rates.items()}


def _seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, 0, 2, 31, tzinfo=UTC).timestamp())


def _currency_api(table: Table) -> dict[str, Any]:
    rates = {code.lower(): rate for code, rate in _numbers(table).items()}
    return {"date": f"{table.day}", table.base.lower(): {**rates, "1inch": 9.9}}


JSON_SHAPES: dict[str, Callable[[Table], Any]] = {
    "ExchangeRate-API": lambda t: {
        "result": "success",
        "time_last_update_unix": _seconds(t.day),
        "time_eol_unix": 0,
        "base_code": t.base,
        "rates": {t.base: 1, **_numbers(t)},
    },
    "ExchangeRate-API with a key": lambda t: {
        "result": "success",
        "time_last_update_unix": _seconds(t.day),
        "base_code": t.base,
        "conversion_rates": {t.base: 1, **_numbers(t)},
    },
    "Open Exchange Rates": lambda t: {
        "disclaimer": "Usage subject to terms",
        "timestamp": _seconds(t.day),
        "base": t.base,
        "rates": _numbers(t),
    },
    "Fixer and exchangeratesapi": lambda t: {
        "success": True,
        "timestamp": _seconds(t.day),
        "base": t.base,
        "date": f"{t.day}",
        "rates": _numbers(t),
    },
    "currencylayer": lambda t: {
        "success": True,
        "terms": "https://currencylayer.com/terms",
        "timestamp": _seconds(t.day),
        "source": t.base,
        "quotes": {f"{t.base}{code}": rate for code, rate in _numbers(t).items()},
    },
    "Coinbase": lambda t: {"data": {"currency": t.base, "rates": {t.base: "1.0", "00": "1", **t.rates}}},
    "freecurrencyapi": lambda t: {"data": {t.base: 1, **_numbers(t)}},
    "currencyapi": lambda t: {
        "meta": {"last_updated_at": f"{t.day}T23:59:59Z"},
        "data": {code: {"code": code, "value": rate} for code, rate in (_numbers(t) | {t.base: 1}).items()},
    },
    "currency-api": _currency_api,
    "Frankfurter v1": lambda t: {"amount": 1.0, "base": t.base, "date": f"{t.day}", "rates": _numbers(t)},
    "Frankfurter v2": lambda t: [
        {"date": f"{t.day}", "base": t.base, "quote": code, "rate": rate} for code, rate in _numbers(t).items()
    ],
    "this service": lambda t: {
        "base": t.base,
        "date": f"{t.day}",
        "source": "frankfurter",
        "attribution": None,
        "rates": {**t.rates, t.base: "1"},
    },
}
WITHOUT_A_DAY = {"Coinbase", "freecurrencyapi"}
"""Formats of which the rates are today's."""


def _cubes(table: Table) -> str:
    rates = "".join(f"<Cube currency='{code}' rate='{rate}'/>" for code, rate in table.rates.items())
    return f"<Cube time='{table.day}'>{rates}</Cube>"


def ecb_xml(*days: Table) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><gesmes:Envelope xmlns:gesmes="http://www.gesmes.org/xml/2002-08-01" '
        'xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref"><gesmes:subject>Reference rates</gesmes:subject>'
        f"<Cube>{''.join(map(_cubes, days))}</Cube></gesmes:Envelope>"
    )


def ecb_csv(table: Table) -> str:
    """The daily file: the day in words, blanks after commas, a comma at the end."""
    return f"Date, {', '.join(table.rates)}, \n{table.day:%d %B %Y}, {', '.join(table.rates.values())}, \n"


def portal_csv(table: Table) -> str:
    lines = (f"EXR.D,D,{code},EUR,SP00,A,{table.day},{rate}\n" for code, rate in table.rates.items())
    return "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE\n" + "".join(lines)


def _before(table: Table) -> Table:
    """The day before, with other rates and one more currency."""
    return Table("EUR", table.day - timedelta(days=1), {**dict.fromkeys(table.rates, "9"), "RUB": "9"})


OF_THE_ECB: dict[str, Callable[[Table], str]] = {
    "ECB's daily XML": ecb_xml,
    "ECB's XML of 90 days": lambda t: ecb_xml(t, _before(t)),
    "ECB's daily CSV": ecb_csv,
    "ECB's data portal": portal_csv,
}
"""Formats that always have euros as their base."""


def renderings(table: Table) -> dict[str, str]:
    """The table as text, in every format that can hold it."""
    found = {name: json.dumps(render(table)) for name, render in JSON_SHAPES.items()}
    return found | ({name: render(table) for name, render in OF_THE_ECB.items()} if table.base == "EUR" else {})
