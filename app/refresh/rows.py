"""Turns the answers of the sources into rows. Pure: no clock, no randomness, no database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.core.db.keys import name_key
from app.countries.schemas import ImplausibleRate, SourcesPublic
from app.countries.stored import CountryRow
from app.countries.summary import Summary, summarize
from app.refresh.fetch import SourceData
from app.refresh.gdp import estimate_gdp
from app.refresh.matching import codes_after, match_stored
from app.refresh.schemas import KeptValue, RefreshResult, SkippedRecord
from app.sources.country_shapes import CountryFact
from app.sources.rate_checks import find_deviations

_MOST_SHOWN: Final = 100


@dataclass(frozen=True)
class CountryRows:
    """The country rows that a refresh writes, and the summary of all countries after it."""

    updated: list[dict[str, Any]]
    """In the order of their ids, so that two writers cannot deadlock."""
    inserted: list[dict[str, Any]]
    """Without an id."""
    stored: list[CountryRow]
    """All countries after the refresh, if none is inserted."""
    summary: Summary
    without_rate: int
    """How many of all countries have a currency, but no rate."""


def build_rows(data: SourceData, stored: Sequence[CountryRow]) -> CountryRows:
    """Match the fetched countries with the stored ones and build a row for each."""
    facts = data.countries.facts
    matches = match_stored(facts, stored)
    quoted = data.rates_in_use.rates
    rows = [
        _country_row(fact, match, quoted.get(fact.currency or ""), multiplier, data.now)
        for fact, match, multiplier in zip(facts, matches, data.multipliers, strict=True)
    ]
    matched = {match.id for match in matches if match}
    unmatched = [country for country in stored if country.id not in matched]
    after = [*unmatched, *(CountryRow(**row) for row in rows)]
    like = Summary(0, data.now, data.country_source, data.rates_in_use.source, data.rates_in_use.day)
    return CountryRows(
        updated=sorted((row for row in rows if row["id"] is not None), key=lambda row: int(row["id"])),
        inserted=[{name: value for name, value in row.items() if name != "id"} for row in rows if row["id"] is None],
        stored=after,
        summary=summarize([(country.name, country.estimated_gdp) for country in after], like=like),
        without_rate=sum(country.currency_code is not None and country.exchange_rate is None for country in after),
    )


def _country_row(
    fact: CountryFact, match: CountryRow | None, rate: float | None, multiplier: float, now: datetime
) -> dict[str, Any]:
    alpha2, alpha3 = codes_after(fact, match)
    return {
        "id": match.id if match else None,
        "name": fact.name,
        "name_key": name_key(fact.name),
        "alpha2_code": alpha2,
        "alpha3_code": alpha3,
        "capital": fact.capital,
        "region": fact.region,
        "region_key": name_key(fact.region) if fact.region else None,
        "population": fact.population,
        "population_year": fact.population_year,
        "currency_code": fact.currency,
        "exchange_rate": rate,
        "estimated_gdp": estimate_gdp(fact.population, fact.currency, rate, multiplier=multiplier),
        "flag_url": fact.flag_url,
        "last_refreshed_at": now,
    }


def _left_out(data: SourceData) -> list[tuple[str, str]]:
    """Code and reason of each fetched rate that counts as not quoted because of its day."""
    in_use = data.rates_in_use
    if not in_use.are_fetched:
        return []
    reason = "its rate is of {}, too far from the day of the others, {}, to count as quoted"
    return [(code, reason.format(day, in_use.day)) for code, day in in_use.left_out.items()]


def build_result(data: SourceData, rows: CountryRows, *, duration_ms: int) -> RefreshResult:
    """Describe a refresh in the answer of the API."""
    fetched = data.fetched_rates
    skipped = [*data.countries.skipped, *fetched.quotes.skipped, *_left_out(data)]
    shown = [SkippedRecord(name=name[:200], reason=reason) for name, reason in skipped[:_MOST_SHOWN]]
    if len(skipped) > _MOST_SHOWN:
        shown[-1] = SkippedRecord(name="...", reason=f"and {len(skipped) - _MOST_SHOWN + 1} more")
    corrected = data.countries.kept
    kept = [KeptValue(**value._asdict()) for value in corrected[:_MOST_SHOWN]]
    if len(corrected) > _MOST_SHOWN:
        more = f"and {len(corrected) - _MOST_SHOWN + 1} more"
        kept[-1] = KeptValue(name="...", field="...", value=None, source_value=None, reason=more)
    return RefreshResult(
        total_countries=rows.summary.total_countries,
        inserted=len(rows.inserted),
        updated=len(rows.updated),
        skipped=shown,
        kept=kept,
        sources=SourcesPublic(countries=data.country_source, rates=data.rates_in_use.source),
        rates_date=data.rates_in_use.day,
        stale=data.stale,
        countries_without_rate=rows.without_rate,
        implausible_rates=[
            ImplausibleRate(**deviation._asdict(), source=fetched.source)
            for deviation in find_deviations(fetched.quotes)
        ],
        last_refreshed_at=data.now,
        duration_ms=duration_ms,
    )
