"""Refuses answers of country sources after which stored countries would lose what they had."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from app.countries.stored import CountryRow
from app.refresh.matching import codes_after, match_stored
from app.sources import reference
from app.sources.chain import SourceFailed
from app.sources.countries import CountryList
from app.sources.country_shapes import CountryFact

_FEW: Final = 10
"""Losses that are always accepted: fewer than this."""


def are_many(losses: int, *, stored: int) -> bool:
    """Whether an answer is refused because of the number of stored countries that would lose a value."""
    return losses >= _FEW and losses * 10 > stored


def refuse_losses(answer: CountryList, *, stored: Sequence[CountryRow], force: bool) -> None:
    """Check an answer of a country source against what is stored.

    Args:
        answer: What a refresh would store.
        stored: What is stored now.
        force: Accept an answer without currencies, and countries that lose a value.

    Raises:
        SourceFailed: It has fewer than half of the stored countries; or, unless forced, no currency at all, or more
            than a tenth of the stored countries, and at least ten, would lose a value or get the one that nearly all
            have.
    """
    facts, number = answer.facts, len(stored)
    if len(facts) * 2 < number:
        raise SourceFailed(
            f"answered with {len(facts)} countries while {number} are stored, which looks truncated; for a list of "
            "fewer, delete the others first or start with an empty database"
        )
    if force:
        return
    if answer.unread is not None:
        raise SourceFailed(f"answered in an unknown format: {answer.unread}; force=true accepts it")
    if losses := list(_losses(facts, stored)):
        (what, many), *others = losses
        text = f"would leave {many} of {number} stored countries without a {what}"
        text += "".join(f", {many} without a {what}" for what, many in others)
        raise SourceFailed(f"{text}; force=true accepts it")


def _losses(facts: Sequence[CountryFact], stored: Sequence[CountryRow]) -> Iterator[tuple[str, int]]:
    """Each field that many countries would lose, and how many they are. An alpha-2 code is never lost."""
    matched = [(match, fact) for match, fact in zip(match_stored(facts, stored), facts, strict=True) if match]
    lost_values = {
        "currency": [_is_lost(was.currency_code, fact.currency) for was, fact in matched],
        "population": [was.population > 0 and fact.population == 0 for was, fact in matched],
        "region": [bool(was.region and not fact.region) for was, fact in matched],
        "three-letter code": [bool(was.alpha3_code and not codes_after(fact, was)[1]) for was, fact in matched],
    }
    for what in ("currency", "region"):
        # One value for nearly all is a constant of the source, not news about each country.
        value, times = Counter(getattr(fact, what) for fact in facts).most_common(1)[0]
        if value and times * 10 > len(facts) * 9 and not any(lost_values[what]):
            before = [was.currency_code if what == "currency" else was.region for was, _ in matched]
            lost_values[f"{what} of their own"] = [
                bool(stored_value) and stored_value != value for stored_value in before
            ]
    for what, lost in lost_values.items():
        if are_many(many := sum(lost), stored=len(stored)):
            yield what, many


def _is_lost(stored: str | None, given: str | None) -> bool:
    """Whether a country loses its currency: it gets none, or in place of money a code that is not one."""
    if stored is None or given is None:
        return stored is not None
    known = reference.currencies().get(stored)
    return known is not None and known.kind == "current" and not reference.is_money(given)
