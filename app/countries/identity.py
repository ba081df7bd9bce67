"""Which record of a source is which stored country."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from app.core.db.keys import name_key
from app.countries.shapes import CountryFact


@dataclass(frozen=True)
class StoredCountry:
    """What tells a stored country from the others, and what the summary needs of it."""

    id: int
    name: str
    name_key: str
    alpha2: str | None
    estimated_gdp: float | None


@cache
def _codes_by_name() -> dict[str, str]:
    names = json.loads((resources.files("app.countries") / "data" / "names.json").read_text("utf-8"))
    return {name_key(name): alpha2 for alpha2, spellings in names.items() for name in spellings}


@cache
def _alpha3_by_alpha2() -> dict[str, str]:
    content = json.loads((resources.files("app.countries") / "data" / "countries.json").read_text("utf-8"))
    return {country["alpha2"]: country["alpha3"] for country in content["countries"]}


def alpha2_of(name: str) -> str | None:
    """The alpha-2 code of a country in any spelling that a known source ever used; None if unknown."""
    return _codes_by_name().get(name_key(name))


def alpha3_of(alpha2: str | None) -> str | None:
    """The alpha-3 code that belongs to an alpha-2 code; None if unknown."""
    return _alpha3_by_alpha2().get(alpha2 or "")


def identify(facts: Iterable[CountryFact]) -> tuple[list[CountryFact], list[tuple[str, str]]]:
    """Give every record its codes, and find second records for the same country.

    A code that the source gives is believed; a missing one comes from the
    bundled table of names.

    Returns:
        The records, at most one a country; and name and reason of the others.
    """
    facts = list(facts)
    kept: list[CountryFact] = []
    skipped: list[tuple[str, str]] = []
    given = {fact.alpha2 for fact in facts}
    seen: set[str] = set()
    for fact in facts:
        alpha2 = fact.alpha2 or alpha2_of(fact.name)
        identity = alpha2 or name_key(fact.name)
        # Our guess never takes the place of a record that brings this code itself, wherever in the list it stands.
        if identity in seen or (fact.alpha2 is None and alpha2 is not None and alpha2 in given):
            skipped.append((fact.name, "is a second record for the same country"))
            continue
        seen.add(identity)
        alpha3 = fact.alpha3 or alpha3_of(alpha2)
        kept.append(replace(fact, alpha2=alpha2, alpha3=alpha3))
    return kept, skipped


def match_stored(facts: Sequence[CountryFact], stored: Sequence[StoredCountry]) -> list[StoredCountry | None]:
    """Find the stored country of each record: by code, else by name.

    A name alone never takes a country away from a record that has its code, so
    two countries that swap names stay themselves; a country whose code no
    record has any more may have got a new one, and is found by its name.

    Returns:
        In the order of the records; None for a country that is not stored yet.
    """
    by_code = {country.alpha2: country for country in stored if country.alpha2}
    # Where two share a name, the one without a code has nothing but its name.
    by_name = {country.name_key: country for country in sorted(stored, key=lambda country: country.alpha2 is None)}
    matches = [by_code.get(fact.alpha2) if fact.alpha2 else None for fact in facts]
    taken = {match.id for match in matches if match}
    codes = {fact.alpha2 for fact in facts}
    for position, fact in enumerate(facts):
        candidate = by_name.get(name_key(fact.name))
        if matches[position] or candidate is None or candidate.id in taken:
            continue
        if fact.alpha2 is None or candidate.alpha2 is None or candidate.alpha2 not in codes:
            matches[position] = candidate
            taken.add(candidate.id)
    return matches
