"""Reads the fields of a country's record, whatever names and forms a source gives them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final

from app.core.characters import visible_line
from app.core.db.keys import name_key
from app.sources import reference

LARGEST_POPULATION: Final = 10_000_000_000
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "name": ("name", "names"),
    "alpha2": ("alpha2code", "cca2", "iso2", "alpha2", "iso31661alpha2"),
    "alpha3": ("alpha3code", "cca3", "iso3", "alpha3", "iso31661alpha3"),
    "capital": ("capital", "capitals"),
    "region": ("region",),
    "population": ("population",),
    "population year": ("populationyear",),
    "currency": ("currencies", "currency", "currencycode"),
}
"""The names that sources have for a field, folded by ``named()``; the first one with a value counts."""

_LONGEST_NAME: Final = 40
_MOST_CURRENCIES: Final = 20
_MOST_FLAGS: Final = 10
_RECORDS_SHOWN: Final = 50
_NAMES_SHOWN: Final = 12
_NAMES_READ: Final = _RECORDS_SHOWN * _RECORDS_SHOWN

_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
_ALPHA2: Final = re.compile(r"[A-Za-z]{2}")
_ALPHA3: Final = re.compile(r"[A-Za-z]{3}")
_CURRENCY: Final = re.compile(r"[A-Za-z]{3,8}")
"""What is called a code; some sources have four letters."""
_CURRENCY_KEY: Final = re.compile(r"[A-Z]{3}")
_CURRENCY_TEXT: Final = re.compile(r"\s*[A-Z]{3}(\s*[,;/|]\s*[A-Z]{3})*\s*")
"""Text that can only be codes, because ``Euro`` and ``DOLLAR`` are none."""
_CODE_NAMES: Final = ("code", "currencycode", "isocode")
_PEOPLE: Final = re.compile(r"\s*(\d{1,11}|[1-9]\d{0,2}(,\d{3}){1,3})\s*", re.ASCII)
"""A whole number as text, also in groups of three."""
_YEAR: Final = re.compile(r"\d{4}", re.ASCII)
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
"""Half of a character, which can't be stored."""


def named(record: Mapping[str, Any]) -> dict[str, Any]:
    """The values by name, whose case and separators do not count: ``alpha2_code`` and ``alpha2Code`` are one."""
    fields: dict[str, Any] = {}
    for name, value in record.items():
        if value is not None and len(name) <= _LONGEST_NAME:
            fields.setdefault(_folded(name), value)
    return fields


@lru_cache(maxsize=256)
def _folded(name: str) -> str:
    # Records of one source have the same names.
    return _SEPARATORS.sub("", name.lower())


def text_of(value: Any, longest: int) -> str | None:
    """Text that can be stored and compared, without what can't be seen; None for anything else, and for blank text."""
    if not isinstance(value, str) or len(value) > longest or _SURROGATE.search(value):
        return None
    text = visible_line(value)
    # Folding can make other texts longer, or empty.
    return text if 0 < len(text if text.isascii() else name_key(text)) <= longest else None


def shown_names(names: Iterable[str]) -> list[str]:
    """The first names of fields for an error message, sorted.

    Long ones are left out, not cut: of half a key no one could tell any more that it is one.
    """
    short = (name for name in islice(names, _NAMES_READ) if len(name) <= _LONGEST_NAME)
    found = sorted({visible_line(_SURROGATE.sub(" ", name)) for name in short} - {""})
    return [*found[:_NAMES_SHOWN], *(["..."] if len(found) > _NAMES_SHOWN else [])]


def name_of(fields: Mapping[str, Any]) -> str | None:
    """The common name, else the official one."""
    names = fields.get("name") or fields.get("names")
    return text_of(names.get("common") or names.get("official") if isinstance(names, dict) else names, 200)


def population_of(fields: Mapping[str, Any]) -> int | None:
    """People; None if it is not a number in range."""
    value = fields.get("population")
    if isinstance(value, str) and _PEOPLE.fullmatch(value):
        value = int(value.replace(",", ""))
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= LARGEST_POPULATION:
        return None
    return int(value)


def population_year_of(fields: Mapping[str, Any]) -> int | None:
    """The year that the population is for."""
    value = fields.get("populationyear")
    if isinstance(value, str) and _YEAR.fullmatch(value):
        value = int(value)
    is_year = isinstance(value, int) and not isinstance(value, bool) and 1900 <= value <= 2100
    return value if is_year else None


def codes_of(fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Alpha-2 and alpha-3 code in capitals, from the record itself or its ``codes``."""
    codes = fields.get("codes")
    nested = named(codes) if isinstance(codes, dict) else {}
    return _code(_ALPHA2, "alpha2", fields, nested), _code(_ALPHA3, "alpha3", fields, nested)


def _code(pattern: re.Pattern[str], field: str, *places: Mapping[str, Any]) -> str | None:
    values = (place.get(name) for place in places for name in FIELDS[field])
    texts = (value.strip() for value in values if isinstance(value, str))
    return next((text.upper() for text in texts if pattern.fullmatch(text)), None)


def capital_of(fields: Mapping[str, Any]) -> str | None:
    """The capital, of several the one that is marked as primary, else the first."""
    value = fields.get("capital") or fields.get("capitals")
    if isinstance(value, str):
        return text_of(value, 200)
    if not isinstance(value, list) or not value:
        return None
    primary = (item for item in value if _is_primary(item))
    chosen = next(primary, value[0])
    return text_of(chosen.get("name") if isinstance(chosen, dict) else chosen, 200)


def _is_primary(item: Any) -> bool:
    attributes = item.get("attributes") if isinstance(item, dict) else None
    return isinstance(attributes, dict) and attributes.get("primary") is True


def currencies_of(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Codes in the source's order; without entries such as ``(none)``, null and ``IMP[G]``."""
    codes = dict.fromkeys(
        code for name in FIELDS["currency"] for code in _currencies(fields.get(name), is_code=name == "currencycode")
    )
    return tuple(islice(codes, _MOST_CURRENCIES))


def _currencies(value: Any, *, is_code: bool = False) -> Iterator[str]:
    if isinstance(value, str):
        if is_code and _CURRENCY.fullmatch(value.strip()):
            yield value.strip().upper()
        elif _CURRENCY_TEXT.fullmatch(value):
            yield from _CURRENCY_KEY.findall(value)
        elif reference.is_money(value.strip().upper()):  # lower case, and neither a word nor a coin
            yield value.strip().upper()
    elif isinstance(value, dict):
        fields = named(value)
        code = next((fields[name] for name in _CODE_NAMES if name in fields), None)
        if code is not None:
            yield from _currencies(code, is_code=True) if isinstance(code, str) else ()
            return
        for key, described in value.items():
            if isinstance(described, dict) and named(described).keys() & {*_CODE_NAMES}:
                yield from _currencies(described)
            elif _is_code(key, described):
                yield key
    elif isinstance(value, list):
        for item in value:
            if not isinstance(item, list):
                yield from _currencies(item)


def _is_code(key: str, value: Any) -> bool:
    """Whether a key is a code, which it is in one form only: {"GHS": {"name": "Ghanaian cedi", "symbol": "..."}}."""
    describes = isinstance(value, dict) and (not value or bool(value.keys() & {"name", "symbol"}))
    return describes and _CURRENCY_KEY.fullmatch(key) is not None


def flag_url_of(fields: Mapping[str, Any]) -> str | None:
    """The first http(s) address of a picture of the flag."""
    for value in (*_flags(fields.get("flags")), fields.get("flagurl"), *_flags(fields.get("flag"))):
        text = text_of(value, 500)
        if text and text.startswith(("https://", "http://")):
            return text
    return None


def _flags(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [value.get(name) for name in ("svg", "png", "url_svg", "url_png")]
    return value[:_MOST_FLAGS] if isinstance(value, list) else [value]


def why_missing(records: Sequence[Any], field: str) -> str | None:
    """That no record has a field which looks like this one, and the names of those they have; None if one has."""
    objects = (record for record in records[:_RECORDS_SHOWN] if isinstance(record, dict))
    names = {name for record in objects for name in islice(record, _RECORDS_SHOWN)}
    if not names or any(named({name: 0}).keys() & {*FIELDS[field]} for name in names):
        return None
    return f"no field looks like a {field}; seen: {', '.join(shown_names(names))}"
