"""The exceptions to taking a source at its word: what is known to be outdated becomes today's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from app.core.db.keys import name_key
from app.sources import reference
from app.sources.country_shapes import CountryFact
from app.sources.reference import ReferenceCountry
from app.sources.spellings import alpha2_of


class Kept(NamedTuple):
    """A value that is stored in place of the source's."""

    name: str
    """Of the country; or how many countries."""
    field: str
    value: str | None
    """None if it differs by country."""
    source_value: str | None
    """As ``value``."""
    reason: str


def correct(fact: CountryFact) -> tuple[CountryFact, list[Kept]]:
    """Replace what is outdated: name, capital and currency. Codes must be filled in."""
    ours = reference.countries().get(fact.alpha2 or "")
    currencies, why = _currencies_in_use(fact.currencies, ours)
    name, capital = fact.name, fact.capital
    if ours is not None:
        name = _todays(name, ours.name, ours.older_names)
        if capital and ours.capitals:
            capital = _todays(capital, ours.capitals[0], ours.older_capitals)
    if (name, capital, currencies) == (fact.name, fact.capital, fact.currencies):
        return fact, []  # most countries, in a tenth of the time
    corrected = replace(fact, name=name, capital=capital, currencies=currencies)
    changes = (
        ("name", name, fact.name, "an older or different spelling of the same country"),
        ("capital", capital, fact.capital, "an older capital, or a different spelling of it"),
        ("currency_code", corrected.currency, ", ".join(fact.currencies), why),
    )
    return corrected, [Kept(name, *change) for change in changes if change[1] != change[2] and change[3]]


def curated_population(alpha2: str | None, name: str) -> tuple[int, int] | None:
    """Population and its year from the curated data; None for a country that they lack."""
    ours = reference.countries().get(alpha2 or alpha2_of(name) or "")
    return (ours.population, ours.population_year) if ours else None


def _todays(text: str, today: str, older: Sequence[str]) -> str:
    """Today's form if the text is an older form of it, or differs only in accents, apostrophes or case."""
    is_same = text == today or name_key(text) in {name_key(form) for form in (today, *older)}
    return today if is_same else text


def _currencies_in_use(listed: Sequence[str], ours: ReferenceCountry | None) -> tuple[tuple[str, ...], str]:
    """The currencies with the one to store first, and why it is not the first listed; empty if it is."""
    if not listed:
        return (), ""
    known, mistaken = (ours.currencies, ours.mistaken_currencies) if ours else ((), ())
    current = tuple(known[0] if code in mistaken else _in_place_of(code, known) for code in listed)
    # Of ours only those that the source has too.
    first = next((code for code in known if code in current), current[0])
    reason = "of several currencies, the first in our list is stored"
    if current[0] != listed[0]:
        reason = f"{listed[0]} is a known mistake" if listed[0] in mistaken else f"{listed[0]} was withdrawn"
    return tuple(dict.fromkeys((first, *current))), reason if first != listed[0] else ""


def _in_place_of(code: str, known: Sequence[str]) -> str:
    """What a country uses in place of a withdrawn currency; other codes as they are.

    Args:
        code: Of any currency.
        known: The country's currencies in force; empty if it has none, or is not in our list.
    """
    found = reference.currencies().get(code)
    if found is None or found.kind != "historic" or not (found.last_day or found.successor):
        return code
    successor = reference.current_successor(code) or code
    # The guilder became the Caribbean guilder in Curaçao, the dollar on Bonaire.
    return known[0] if known and successor not in known else successor
