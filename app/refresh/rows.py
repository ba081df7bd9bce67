"""From the answers of the sources to the rows of a refresh. Pure: no clock, no chance, no database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.core.db.keys import name_key
from app.countries.schemas import SourcesPublic
from app.countries.store import StoredCountry
from app.countries.summary import Summary, summarize
from app.refresh.fetch import Answers
from app.refresh.gdp import estimate_gdp
from app.refresh.matching import match_stored
from app.refresh.schemas import RefreshResult, SkippedRecord
from app.sources.country_shapes import CountryFact
from app.sources.spellings import alpha3_of

_MOST_SKIPPED: Final = 100


@dataclass(frozen=True)
class Batch:
    """Everything a refresh writes about countries, ready for the transaction."""

    updated: list[dict[str, Any]]
    inserted: list[dict[str, Any]]
    summary: Summary


def prepare(answers: Answers, stored: Sequence[StoredCountry]) -> Batch:
    """Turn the answers into rows, given what is stored. Pure."""
    facts = answers.countries.facts
    matches = match_stored(facts, stored)
    rows = [
        _country_row(fact, match, answers.quotes.rates.get(fact.currency or ""), multiplier, answers.now)
        for fact, match, multiplier in zip(facts, matches, answers.multipliers, strict=True)
    ]
    matched = {match.id for match in matches if match}
    left = [(country.name, country.estimated_gdp) for country in stored if country.id not in matched]
    written = [(row["name"], row["estimated_gdp"]) for row in rows]
    like = Summary(0, (), answers.now, answers.country_source, answers.rate_source, answers.quotes.day)
    return Batch(
        # Always in the order of the ids, so that two writers can't lock each other out.
        updated=sorted((row for row in rows if row["id"] is not None), key=lambda row: int(row["id"])),
        inserted=[{name: value for name, value in row.items() if name != "id"} for row in rows if row["id"] is None],
        summary=summarize([*left, *written], like=like),
    )


def _country_row(
    fact: CountryFact, match: StoredCountry | None, rate: float | None, multiplier: float, now: datetime
) -> dict[str, Any]:
    # A code is identity, not news: a source that gives none does not take it away.
    alpha2 = fact.alpha2 or (match.alpha2 if match else None)
    return {
        "id": match.id if match else None,
        "name": fact.name,
        "name_key": name_key(fact.name),
        "alpha2_code": alpha2,
        "alpha3_code": fact.alpha3 or alpha3_of(alpha2),
        "capital": fact.capital,
        "region": fact.region,
        "region_key": name_key(fact.region) if fact.region else None,
        "population": fact.population,
        "currency_code": fact.currency,
        "exchange_rate": rate,
        "estimated_gdp": estimate_gdp(fact.population, fact.currency, rate, multiplier=multiplier),
        "flag_url": fact.flag_url,
        "last_refreshed_at": now,
    }


def report(answers: Answers, batch: Batch, *, duration_ms: int) -> RefreshResult:
    """Tell what a refresh does, in the words of the API."""
    skipped = [*answers.countries.skipped, *answers.quotes.skipped]
    shown = [SkippedRecord(name=name[:200], reason=reason) for name, reason in skipped[:_MOST_SKIPPED]]
    if len(skipped) > _MOST_SKIPPED:
        shown[-1] = SkippedRecord(name="...", reason=f"and {len(skipped) - _MOST_SKIPPED + 1} more")
    return RefreshResult(
        total_countries=batch.summary.total_countries,
        inserted=len(batch.inserted),
        updated=len(batch.updated),
        skipped=shown,
        sources=SourcesPublic(countries=answers.country_source, rates=answers.rate_source),
        rates_date=answers.quotes.day,
        last_refreshed_at=answers.now,
        duration_ms=duration_ms,
    )
