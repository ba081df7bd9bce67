"""Matches the records of a source with the stored countries."""

from collections.abc import Sequence

from app.core.db.keys import name_key
from app.countries.stored import CountryRow
from app.sources.country_shapes import CountryFact
from app.sources.spellings import alpha3_of


def match_stored(facts: Sequence[CountryFact], stored: Sequence[CountryRow]) -> list[CountryRow | None]:
    """Find the stored country of each record: by its code, else by its name.

    A record that has the code of a stored country always gets that country, so
    two countries that swap their names keep their rows. A stored country whose
    code no record has is matched by name: its code may have changed.

    Returns:
        One entry per record, in order; None for a country that is not stored yet.
    """
    by_code = {country.alpha2_code: country for country in stored if country.alpha2_code}
    # Of two with the same name, prefer the one without a code: it can only be found by name.
    by_name = {country.name_key: country for country in sorted(stored, key=lambda country: country.alpha2_code is None)}
    matches = [by_code.get(fact.alpha2) if fact.alpha2 else None for fact in facts]
    taken = {match.id for match in matches if match}
    codes = {fact.alpha2 for fact in facts}
    for position, fact in enumerate(facts):
        candidate = by_name.get(name_key(fact.name))
        if matches[position] or candidate is None or candidate.id in taken:
            continue
        if fact.alpha2 is None or candidate.alpha2_code is None or candidate.alpha2_code not in codes:
            matches[position] = candidate
            taken.add(candidate.id)
    return matches


def codes_after(fact: CountryFact, match: CountryRow | None) -> tuple[str | None, str | None]:
    """The alpha-2 and alpha-3 code to store; an alpha-2 code identifies the country, so it stays."""
    alpha2 = fact.alpha2 or (match.alpha2_code if match else None)
    return alpha2, fact.alpha3 or alpha3_of(alpha2)
