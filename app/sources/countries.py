"""The sources of countries."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from app.core.config.addresses import host_of, secrets_in
from app.core.config.settings import Settings
from app.core.config.sources import BUNDLED, COUNTRY_URLS, RESTCOUNTRIES, UNDATED_POPULATIONS
from app.core.telemetry.log import hiding
from app.sources import reference
from app.sources.chain import Source, SourceFailed, SourceRefused
from app.sources.client import BadStatus, HttpClient, get_json, with_query
from app.sources.country_corrections import Kept, correct, curated_population
from app.sources.country_fields import why_missing
from app.sources.country_shapes import CountryFact, UnusableRecord, find_records, has_more_pages, parse_record
from app.sources.masking import explained_failures
from app.sources.spellings import identify

_V5_FIELDS: Final = (
    "names.common,codes.alpha_2,codes.alpha_3,capitals,region,population,currencies,flag.url_svg,flag.url_png"
)
_V5_PAGE: Final = 100
_MAX_RECORDS: Final = 100_000
_FEW: Final = 10
"""From this number on, countries without any currency mean a format that we do not know."""

_SHORTEST_KEY: Final = 8
"""Characters. A shorter value, such as ``sortKey=name``, is not hidden in names: it would change Suriname's."""


@dataclass(frozen=True)
class CountryList:
    """The usable answer of a country source."""

    facts: tuple[CountryFact, ...]
    """At most one per country, with codes filled in."""
    skipped: tuple[tuple[str, str], ...]
    """Name and reason of each record that cannot be stored."""
    kept: tuple[Kept, ...] = ()
    """Values that are known to be outdated, and what is stored in their place."""
    unread: str | None = None
    """Why no country has a currency; None if one has, or there are fewer than ten."""


def country_chain(
    names: Sequence[str], http: HttpClient, settings: Settings, *, check: Callable[[CountryList], None]
) -> list[Source[CountryList]]:
    """Turn the configured names and URLs into sources.

    Args:
        names: Known names or http(s) URLs, best first.
        http: The client.
        settings: For the size limit and the key of REST Countries; without a
            key that source is skipped.
        check: Raises SourceFailed if the answer would do harm to what is stored.
    """
    chain = []
    for entry in names:
        fetch: Callable[[float], Awaitable[list[Any]]] = _bundled
        name, secrets = entry, secrets_in(entry)
        if entry == RESTCOUNTRIES:
            if not (key := settings.restcountries_api_key):
                continue
            fetch = partial(_fetch_restcountries, http, settings, key.get_secret_value())
            secrets = [key.get_secret_value(), *secrets_in(settings.restcountries_url)]
        elif entry != BUNDLED:
            name, url = (entry, COUNTRY_URLS[entry]) if entry in COUNTRY_URLS else (host_of(entry), entry)
            fetch = partial(_fetch_pages, http, url, settings.upstream_max_bytes, {})
        read = partial(_read, fetch, check, entry in UNDATED_POPULATIONS, secrets)
        chain.append(Source(name, read, is_local=entry == BUNDLED))
    return chain


async def _read(
    fetch: Callable[[float], Awaitable[list[Any]]],
    check: Callable[[CountryList], None],
    is_undated: bool,
    secrets: Sequence[str],
    timeout: float,
) -> CountryList:
    hide = hiding(secret for secret in secrets if len(secret) >= _SHORTEST_KEY)
    with explained_failures(secrets):
        answer = to_country_list(await fetch(timeout), is_undated=is_undated, hide=hide)
        check(answer)
        return answer


async def _fetch_restcountries(http: HttpClient, settings: Settings, key: str, timeout: float) -> list[Any]:
    url = with_query(settings.restcountries_url, response_fields=_V5_FIELDS, limit=_V5_PAGE, offset=0)
    try:
        return await _fetch_pages(http, url, settings.upstream_max_bytes, {"Authorization": f"Bearer {key}"}, timeout)
    except BadStatus as error:
        if error.status in (401, 403):
            raise SourceRefused(f"refused RESTCOUNTRIES_API_KEY ({error.status})") from error
        raise


async def _fetch_pages(
    http: HttpClient, url: str, max_bytes: int, headers: Mapping[str, str], timeout: float
) -> list[Any]:
    """Fetch a list, and the further pages of REST Countries v5."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    records: list[Any] = []
    while True:
        page_url = with_query(url, offset=len(records)) if records else url
        answer = await get_json(http, page_url, timeout=deadline - loop.time(), max_bytes=max_bytes, headers=headers)
        max_bytes -= answer.weight  # the limit covers all pages together
        page = find_records(answer.content)
        records += page
        if len(records) > _MAX_RECORDS:
            raise SourceFailed(f"answered with more than {_MAX_RECORDS:,} records")
        if not page or not has_more_pages(answer.content):
            return records


async def _bundled(_: float) -> list[Any]:
    return bundled_records()


def bundled_records() -> list[dict[str, Any]]:
    """The bundled countries, in the format of REST Countries v2."""
    return [
        {
            "name": country.name,
            "alpha2Code": alpha2,
            "alpha3Code": country.alpha3,
            "capital": next(iter(country.capitals), None),
            "region": country.region,
            "population": country.population,
            "populationYear": country.population_year,
            "currencies": [{"code": code} for code in country.currencies],
            "flag": f"https://flagcdn.com/{alpha2.lower()}.svg",
        }
        for alpha2, country in reference.countries().items()
    ]


def to_country_list(
    records: Sequence[Any], *, is_undated: bool = False, hide: Callable[[str], str] = str
) -> CountryList:
    """Parse all records, and replace what is known to be outdated.

    Args:
        records: What a source says.
        is_undated: Whether to use the curated populations, because those of the source have no year.
        hide: Removes the secrets of the source's address from a text.

    Raises:
        SourceFailed: No record is usable.
    """
    parsed: list[CountryFact] = []
    skipped: list[tuple[str, str]] = []
    for record in records:
        try:
            fact = parse_record(record, known_population=curated_population if is_undated else None)
        except UnusableRecord as unusable:
            skipped.append((hide(unusable.name), unusable.reason))
        else:
            parsed.append(fact.with_texts(hide))
    identified, doubles = identify(parsed)
    if not identified:
        why = why_missing(records, "name") or why_missing(records, "population")
        raise SourceFailed(f"answered without a single usable country{f': {why}' if why else ''}")
    facts, kept = [], _kept_populations(identified) if is_undated else []
    for fact in identified:
        corrected, changes = correct(fact)
        facts.append(corrected)
        kept += changes
    unread = None
    if len(facts) >= _FEW and not any(fact.currencies for fact in facts):
        unread = why_missing(records, "currency") or "no currency has a code that can be read"
    return CountryList(tuple(facts), (*skipped, *doubles), tuple(kept), unread)


def _kept_populations(facts: Sequence[CountryFact]) -> list[Kept]:
    """One entry for all countries, because they all have the same reason."""
    number = sum(curated_population(fact.alpha2, fact.name) is not None for fact in facts)
    reason = "the source gives no year for its populations; those of the curated data have one"
    return [Kept(f"{number} countries", "population", None, None, reason)] if number else []
