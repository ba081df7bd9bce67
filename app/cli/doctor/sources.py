"""Checks whether the sources of both chains give usable answers."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import stamina

from app.cli.doctor.findings import Finding, failed, ok, warn
from app.cli.doctor.storage import StoredData
from app.core.config.settings import Settings
from app.core.config.sources import RESTCOUNTRIES
from app.refresh.losses import refuse_losses
from app.refresh.rate_losses import find_rate_losses
from app.sources.chain import Source, SourceFailed, SourceRefused
from app.sources.client import create_http_client
from app.sources.countries import CountryList, country_chain
from app.sources.rates import RateAnswer, rate_chain

_MAX_SECONDS: Final = 5.0
"""Per source; a refresh waits up to UPSTREAM_TIMEOUT_SECONDS."""


async def check_sources(settings: Settings, stored: StoredData) -> list[Finding]:
    """Ask every source of both chains once, all at the same time; store nothing.

    Args:
        settings: The chains, timeouts and keys.
        stored: What to compare the answers with, as a refresh does.
    """
    stamina.instrumentation.set_on_retry_hooks([])  # they would log each retry
    async with create_http_client() as http:
        check = partial(refuse_losses, stored=stored.countries, force=False)
        countries = country_chain(settings.country_sources, http, settings, check=check)
        today = datetime.now(UTC).date()
        max_age = timedelta(settings.max_rate_age_days)
        losses = partial(find_rate_losses, countries=stored.countries, previous=stored.rates, max_age=max_age)
        rates = rate_chain(settings.rate_sources, http, settings, today=today, previous=stored.rates, check=losses)
        seconds = min(settings.upstream_timeout_seconds, _MAX_SECONDS)
        found, of_rates = await asyncio.gather(
            _check("countries", countries, seconds, "COUNTRY_SOURCES"), _check("rates", rates, seconds, "RATE_SOURCES")
        )
    if RESTCOUNTRIES in settings.country_sources and settings.restcountries_api_key is None:
        found.append(ok(f"countries from {RESTCOUNTRIES}", "skipped, because it needs RESTCOUNTRIES_API_KEY"))
    return [*found, *of_rates]


async def _check(what: str, chain: Sequence[Source[Any]], seconds: float, setting: str) -> list[Finding]:
    """A failing source is a warning while another answers; a refused key or a failing chain is a failure."""
    answers = await asyncio.gather(*(_ask(source, seconds) for source in chain))
    has_fresh = any(isinstance(answer, str) for answer in answers)
    has_any = has_fresh or any(isinstance(answer, _Outdated) for answer in answers)
    found = []
    for source, answer in zip(chain, answers, strict=True):
        check = f"{what} from {source.label}"
        if isinstance(answer, str):
            found.append(ok(check, answer))
        elif isinstance(answer, SourceRefused):
            found.append(failed(check, str(answer), "correct the key; refreshes fail until then"))
        elif isinstance(answer, _Outdated) and not has_fresh:
            found.append(warn(check, str(answer), f"put a source with newer rates into {setting}"))
        elif has_any:
            found.append(warn(check, str(answer), "another source of the chain answers"))
        else:
            advice = f"no source of the chain answers: check the network, or add bundled to {setting}"
            found.append(failed(check, str(answer), advice))
    return found


class _Outdated(SourceFailed):
    """The rates are old; a refresh uses them if no source has newer ones."""


async def _ask(source: Source[Any], seconds: float) -> str | SourceFailed:
    """The number of records in the answer and the time it took, as text, or the failure."""
    started = time.monotonic()
    try:
        answer = await source.ask(seconds)
    except SourceFailed as failure:
        return failure
    if isinstance(answer, CountryList):
        number, unusable = f"{len(answer.facts)} countries", len(answer.skipped)
    else:
        rates: RateAnswer = answer
        if rates.refused:
            return SourceFailed(rates.refused)
        if rates.outdated:
            return _Outdated(rates.outdated)
        number = f"{len(rates.quotes.rates)} rates of {rates.quotes.day}"
        unusable = len(rates.quotes.skipped) + len(rates.jumps)
    skipped = f", {unusable} unusable" if unusable else ""
    return f"{number}{skipped}, in {(time.monotonic() - started) * 1000:.0f} ms"
