"""The formats of the country sources, recognised record by record."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from app.sources.chain import SourceFailed
from app.sources.country_fields import (
    capital_of,
    codes_of,
    currencies_of,
    flag_url_of,
    name_of,
    named,
    population_of,
    population_year_of,
    shown_names,
    text_of,
)
from app.sources.source_errors import error_code, error_of

_NO_NAME: Final = "(no name)"
_UNKNOWN: Final = "answered in an unknown format: the list must be the whole document, data or data.objects"
KnownPopulation = Callable[[str | None, str], tuple[int, int] | None]
"""Population and its year by alpha-2 code, if there is one, and name."""


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
    currencies: tuple[str, ...] = ()
    """Codes, the one to use first."""
    flag_url: str | None = None

    @property
    def currency(self) -> str | None:
        """The code to use; None if there is none."""
        return next(iter(self.currencies), None)

    def with_texts(self, change: Callable[[str], str]) -> Self:
        """The same with each text changed, codes excepted."""
        texts = {"name": self.name, "capital": self.capital, "region": self.region, "flag_url": self.flag_url}
        changed: dict[str, Any] = {field: text and change(text) for field, text in texts.items()}
        return self if changed == texts else replace(self, **changed)


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
        if "message" in body or error_of(body):
            code = error_code(body)  # nothing else is repeated, because it may be the key of the request
            raise SourceFailed(f"answered with the error {code}" if code else "answered with an error")
        whole = body
        body = body.get("data", body)
        if isinstance(body, dict) and "_demo" in body:
            raise SourceFailed("answered with the sample of the demo key, which is not data")
        body = body.get("objects") if isinstance(body, dict) else body
        if not isinstance(body, list):
            raise SourceFailed(f"{_UNKNOWN}; seen: {', '.join(shown_names(whole)) or 'an empty object'}")
    if not isinstance(body, list):
        raise SourceFailed(_UNKNOWN)
    return body


def has_more_pages(body: Any) -> bool:
    """Whether a REST Countries v5 answer announces further pages."""
    for key in ("data", "meta", "more"):
        body = body.get(key) if isinstance(body, dict) else None
    return body is True


def parse_record(record: Any, *, known_population: KnownPopulation | None = None) -> CountryFact:
    """Parse a record of any known format: REST Countries v2 in all dialects, v3.1, v5, and our own.

    Args:
        record: What the source says.
        known_population: Gives the population to use instead of reading it, where it knows one.

    Raises:
        UnusableRecord: It has no name, or its population is not a number in range.
    """
    if not isinstance(record, dict):
        raise UnusableRecord(_NO_NAME, "is not an object")
    fields = named(record)
    name = name_of(fields)
    if name is None:
        raise UnusableRecord(_NO_NAME, "has no usable name")
    alpha2, alpha3 = codes_of(fields)
    known = known_population(alpha2, name) if known_population else None
    population, year = known or (population_of(fields), population_year_of(fields))
    if population is None:
        raise UnusableRecord(name, "its population is not a number in range")
    return CountryFact(
        name=name,
        population=population,
        population_year=year,
        alpha2=alpha2,
        alpha3=alpha3,
        capital=capital_of(fields),
        region=text_of(fields.get("region"), 100),
        currencies=currencies_of(fields),
        flag_url=flag_url_of(fields),
    )
