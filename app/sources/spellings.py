"""Finds countries by their names and codes, in every known spelling."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Final, NamedTuple

from app.core.db.keys import name_key
from app.sources import reference
from app.sources.country_shapes import CountryFact

_UNSAID: Final = {"and", "of", "the"}
_IN_FULL: Final = {"st": "saint"}
_ISLANDS: Final = {"is", "island"}
"""Short for "Islands", except alone: Iceland's code, and its name in German."""
_INITIAL: Final = re.compile(r"\b(\w)\.")
_LETTERS_PER_MISTAKE: Final = 4
"""A name of 4 to 8 letters may have one wrong letter, one of 9 to 12 two."""
_MAX_SUGGESTIONS: Final = 3
_MIN_PART: Final = 3
"""Letters; a shorter part of a name suggests nothing."""


class Matches(NamedTuple):
    """Alpha-2 codes of the countries that a text finds."""

    exact: str | None
    """The country that has it as a spelling or code."""
    starting: list[str]
    """Those with a spelling that starts with it."""
    containing: list[str]
    """Those with a spelling or capital that contains it, these included."""


def spelling_key(name: str) -> str:
    """Fold a name to the form in which its inverted, abbreviated and punctuated spellings are equal.

    In addition to what ``name_key()`` ignores, the order of the words, punctuation, "the", "of", "and" and "&" do not
    count, "St" is "Saint", and beside other words "Is." and "Island" are "Islands": ``"Korea (the Republic of)"`` and
    ``"Republic of Korea"`` share one key. It is empty if nothing else is left.
    """
    return " ".join(sorted(_words(name)))


def alpha2_of(text: str) -> str | None:
    """The alpha-2 code of the country with this spelling or code; None if unknown.

    Codes are alpha-2, alpha-3, three digits, or of a National Olympic Committee; alpha-3 beats the last.
    """
    # Only ASCII: in upper case the German sharp s would be SS, the code of South Sudan.
    by_code = _codes().get(text.strip().upper()) if text.isascii() else None
    return by_code or _codes_by_spelling().get(spelling_key(text))


def alpha3_of(alpha2: str | None) -> str | None:
    """The alpha-3 code for an alpha-2 code; None if unknown."""
    country = reference.countries().get(alpha2 or "")
    return country.alpha3 if country else None


def search(text: str) -> Matches:
    """Find the countries with this text in a spelling or capital, or with it as a code."""
    parts = {part for part in (name_key(text), " ".join(_words(text))) if part}
    starting, containing = [], []
    for alpha2, searched in _searched_texts().items():
        if any(part in searched for part in parts):
            containing.append(alpha2)
            if any(f"\n{part}" in searched for part in parts):
                starting.append(alpha2)
    return Matches(alpha2_of(text), starting, containing)


def suggest(name: str) -> list[str]:
    """The alpha-2 codes of up to three countries that an unknown name may mean, the most similar first.

    Countries with a spelling that the name is part of, from the beginning of a word on, unless these are more; then
    those with a similar spelling. Empty if the name is a known one.
    """
    from rapidfuzz import process  # noqa: PLC0415  # 5 ms and 3 MB of a start
    from rapidfuzz.distance import OSA  # noqa: PLC0415

    if alpha2_of(name) is not None:
        return []
    wanted = " ".join(_words(name))
    if len(wanted) < _MIN_PART:
        return []
    spellings = _spellings_in_order()
    close = {alpha2: None for spelling, alpha2 in spellings.items() if f" {wanted}" in f" {spelling}"}
    if len(close) > _MAX_SUGGESTIONS:
        close = {}
    if len(wanted) >= _LETTERS_PER_MISTAKE:
        mistakes = max(1, (len(wanted) - 1) // _LETTERS_PER_MISTAKE)
        similar = process.extract(wanted, spellings.keys(), scorer=OSA.distance, score_cutoff=mistakes, limit=10)
        nearest = sorted(similar, key=lambda found: (found[1], -len(found[0])))  # of a longer one, less is wrong
        close |= dict.fromkeys(spellings[spelling] for spelling, *_ in nearest)
    return list(close)[:_MAX_SUGGESTIONS]


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
        kept.append(fact if fact.alpha2 and fact.alpha3 else replace(fact, alpha2=alpha2, alpha3=alpha3))
    return kept, skipped


def _words(name: str) -> list[str]:
    """The words of a name that count, in their order."""
    text = _INITIAL.sub(r"\1", name_key(name)).replace("'", "")
    bare = "".join(" " if unicodedata.category(char)[0] in "PSZ" else char for char in text)
    words = [_IN_FULL.get(word, word) for word in bare.split() if word not in _UNSAID]
    return ["islands" if word in _ISLANDS else word for word in words] if len(words) > 1 else words


@cache
def _codes() -> dict[str, str]:
    """Alpha-2 codes by every code, in upper case; of equal ones the last wins."""
    known = reference.countries().items()
    kinds = ([(getattr(country, kind), alpha2) for alpha2, country in known] for kind in ("ioc", "alpha3", "numeric"))
    return {code: alpha2 for kind in kinds for code, alpha2 in kind if code} | {alpha2: alpha2 for alpha2, _ in known}


@cache
def _codes_by_spelling() -> dict[str, str]:
    """Alpha-2 codes by the key of every spelling."""
    return {spelling_key(name): alpha2 for alpha2, spellings in reference.names().items() for name in spellings}


@cache
def _spellings_in_order() -> dict[str, str]:
    """Alpha-2 codes by every spelling, its words in their order."""
    return {" ".join(_words(name)): alpha2 for alpha2, spellings in reference.names().items() for name in spellings}


@cache
def _searched_texts() -> dict[str, str]:
    """By alpha-2 code, all spellings of a country, each after a line feed, and its capitals, each after a tab."""
    return {
        alpha2: _joined("\n", spellings)
        + _joined("\t", (*reference.countries()[alpha2].capitals, *reference.countries()[alpha2].older_capitals))
        for alpha2, spellings in reference.names().items()
    }


def _joined(mark: str, names: Iterable[str]) -> str:
    """Both forms of each name, once: as it is written, and only the words that count."""
    forms = dict.fromkeys(form for name in names for form in (name_key(name), " ".join(_words(name))))
    return "".join(f"{mark}{form}" for form in forms)
