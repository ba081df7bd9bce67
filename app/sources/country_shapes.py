"""The formats of the country sources, recognised record by record."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from app.core.characters import visible_line
from app.core.db.keys import name_key
from app.sources.chain import SourceFailed

LARGEST_POPULATION: Final = 10_000_000_000
_ALPHA2: Final = re.compile(r"[A-Z]{2}")
_ALPHA3: Final = re.compile(r"[A-Z]{3}")
_CURRENCY: Final = re.compile(r"[A-Z]{3,8}")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
"""Half of a character, which can't be stored."""


@dataclass(frozen=True)
class CountryFact:
    """What a source says about one country, whatever its format."""

    name: str
    population: int
    population_year: int | None = None
    """None if the source gives none."""
    alpha2: str | None = None
    alpha3: str | None = None
    capital: str | None = None
    region: str | None = None
    currency: str | None = None
    """Code of the first usable currency; None if the source lists none."""
    flag_url: str | None = None


class UnusableRecord(Exception):
    """A record that cannot be stored; the text says why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name = name
        self.reason = reason


def find_records(body: Any) -> list[Any]:
    """Return the list of records in an answer.

    Raises:
        SourceFailed: The answer is an error, the sample for the demo key, or not a list of countries.
    """
    if isinstance(body, dict):
        if body.get("errors") or body.get("success") is False or "message" in body:
            raise SourceFailed(f"answered with an error: {_error_text(body)}")
        body = body.get("data", body)
        if isinstance(body, dict) and "_demo" in body:
            raise SourceFailed("answered with the sample of the demo key, which is not data")
        body = body.get("objects") if isinstance(body, dict) else body
    if not isinstance(body, list):
        raise SourceFailed("answered in an unknown format")
    return body


def _error_text(body: dict[str, Any]) -> str:
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else body
    text = first.get("message") if isinstance(first, dict) else None
    return visible_line(_SURROGATE.sub(" ", text[:500]))[:120] if isinstance(text, str) else "without a message"


def has_more_pages(body: Any) -> bool:
    """Whether a REST Countries v5 answer announces further pages."""
    return _dict(_dict(_dict(body).get("data")).get("meta")).get("more") is True


def parse_record(record: Any) -> CountryFact:
    """Parse a record of any known format: REST Countries v2 in all dialects, v3.1, v5.

    Raises:
        UnusableRecord: It has no name, or its population is not a number in range.
    """
    if not isinstance(record, dict):
        raise UnusableRecord("(no name)", "is not an object")
    names = record.get("name") or record.get("names")
    name = _text(names.get("common") or names.get("official") if isinstance(names, dict) else names, 200)
    if name is None:
        raise UnusableRecord("(no name)", "has no usable name")
    population: Any = record.get("population")
    is_number = isinstance(population, (int, float)) and not isinstance(population, bool)
    if not is_number or not 0 <= population <= LARGEST_POPULATION:
        raise UnusableRecord(name, "its population is not a number in range")
    codes = _dict(record.get("codes"))
    return CountryFact(
        name=name,
        population=int(population),
        population_year=_year(record.get("populationYear")),
        alpha2=_code(_ALPHA2, record.get("alpha2Code"), record.get("cca2"), codes.get("alpha_2")),
        alpha3=_code(_ALPHA3, record.get("alpha3Code"), record.get("cca3"), codes.get("alpha_3")),
        capital=_capital(record.get("capital") or record.get("capitals")),
        region=_text(record.get("region"), 100),
        currency=next(_currencies(record.get("currencies")), None),
        flag_url=_flag_url(record),
    )


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any, longest: int) -> str | None:
    """Text that can be stored and compared, without what can't be seen; None for anything else, and for blank text."""
    if not isinstance(value, str) or len(value) > longest or _SURROGATE.search(value):
        return None
    text = visible_line(value)
    key = name_key(text)  # folding can make the text longer, or empty
    return text if 0 < len(key) <= longest else None


def _year(value: Any) -> int | None:
    is_year = isinstance(value, int) and not isinstance(value, bool) and 1900 <= value <= 2100
    return value if is_year else None


def _code(pattern: re.Pattern[str], *values: Any) -> str | None:
    return next((value for value in values if isinstance(value, str) and pattern.fullmatch(value)), None)


def _capital(value: Any) -> str | None:
    if isinstance(value, str):
        return _text(value, 200)
    if not isinstance(value, list) or not value:
        return None
    primary = [item for item in value if _dict(_dict(item).get("attributes")).get("primary") is True]
    chosen = (primary or value)[0]
    return _text(chosen.get("name") if isinstance(chosen, dict) else chosen, 200)


def _currencies(value: Any) -> Iterator[str]:
    """Codes in the source's order; skips entries such as "(none)", null and "IMP[G]"."""
    if isinstance(value, dict):
        codes: list[Any] = list(value)
    else:
        codes = [_dict(item).get("code") for item in value] if isinstance(value, list) else []
    for code in codes:
        if isinstance(code, str) and _CURRENCY.fullmatch(code.strip().upper()):
            yield code.strip().upper()


def _flag_url(record: dict[str, Any]) -> str | None:
    flags, flag = _dict(record.get("flags")), record.get("flag")
    named = _dict(flag)
    for value in (flags.get("svg"), flags.get("png"), named.get("url_svg"), named.get("url_png"), flag):
        text = _text(value, 500)
        if text and text.startswith(("https://", "http://")):
            return text
    return None
