"""The codes of countries by their names, in every known spelling."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from app.core.db.keys import name_key
from app.sources import reference
from app.sources.country_shapes import CountryFact


@cache
def _codes_by_name() -> dict[str, str]:
    return {name_key(name): alpha2 for alpha2, spellings in reference.names().items() for name in spellings}


def alpha2_of(name: str) -> str | None:
    """The alpha-2 code of a country, by any spelling that a known source has used; None if unknown."""
    return _codes_by_name().get(name_key(name))


def alpha3_of(alpha2: str | None) -> str | None:
    """The alpha-3 code for an alpha-2 code; None if unknown."""
    country = reference.countries().get(alpha2 or "")
    return country.alpha3 if country else None


def identify(facts: Iterable[CountryFact]) -> tuple[list[CountryFact], list[tuple[str, str]]]:
    """Fill in missing codes by name, and drop second records of the same country.

    Returns:
        The records, at most one per country; and name and reason of the others.
    """
    facts = list(facts)
    kept: list[CountryFact] = []
    skipped: list[tuple[str, str]] = []
    source_codes = {fact.alpha2 for fact in facts}
    seen: set[str] = set()
    for fact in facts:
        alpha2 = fact.alpha2 or alpha2_of(fact.name)
        identity = alpha2 or name_key(fact.name)
        # A code from the source beats one that we found by name, wherever in the list it comes.
        if identity in seen or (fact.alpha2 is None and alpha2 is not None and alpha2 in source_codes):
            skipped.append((fact.name, "is a second record for the same country"))
            continue
        seen.add(identity)
        alpha3 = fact.alpha3 or alpha3_of(alpha2)
        kept.append(replace(fact, alpha2=alpha2, alpha3=alpha3))
    return kept, skipped
