"""Checks whether the sources of both chains give usable answers."""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar

import stamina

from app.cli.doctor.findings import Finding, failed, ok, warn
from app.cli.doctor.storage import StoredData
from app.core.config.settings import Settings
from app.core.config.sources import RESTCOUNTRIES
from app.sources.chain import Source, SourceFailed, SourceRefused
from app.sources.client import create_http_client
from app.sources.countries import CountryList, country_chain
from app.sources.rate_shapes import Quotes
from app.sources.rates import rate_chain

T = TypeVar("T")

_MAX_SECONDS: Final = 5.0
"""Per source; a refresh waits up to UPSTREAM_TIMEOUT_SECONDS."""


class _SourceCheck(NamedTuple):
    source: str
    says: str
    failure: SourceFailed | None


async def check_sources(settings: Settings, stored: StoredData) -> list[Finding]:
    """Ask every source of both chains once, all at the same time; store nothing.

    Args:
        settings: The chains, timeouts and keys.
        stored: What to compare the answers with, as a refresh does.
    """
    stamina.instrumentation.set_on_retry_hooks([])  # they would log each retry
    async with create_http_client() as http:
        countries = country_chain(settings.country_sources, http, settings, stored=stored.countries)
        today = datetime.now(UTC).date()
        rates = rate_chain(settings.rate_sources, http, settings, today=today, previous=stored.rates, force=False)
        seconds = min(settings.upstream_timeout_seconds, _MAX_SECONDS)
        of_countries, of_rates = await asyncio.gather(
            _ask_all(countries, seconds, _countries), _ask_all(rates, seconds, _rates)
        )
    found = _judge("countries", of_countries, "COUNTRY_SOURCES")
    if RESTCOUNTRIES in settings.country_sources and settings.restcountries_api_key is None:
        found.append(ok(f"countries from {RESTCOUNTRIES}", "skipped, because it needs RESTCOUNTRIES_API_KEY"))
    return [*found, *_judge("rates", of_rates, "RATE_SOURCES")]


def _countries(answer: CountryList) -> str:
    skipped = f", {len(answer.skipped)} unusable" if answer.skipped else ""
    return f"{len(answer.facts)} countries{skipped}"


def _rates(answer: Quotes) -> str:
    skipped = f", {len(answer.skipped)} unusable" if answer.skipped else ""
    return f"{len(answer.rates)} rates of {answer.day}{skipped}"


async def _ask_all(chain: Sequence[Source[T]], seconds: float, describe: Callable[[T], str]) -> list[_SourceCheck]:
    return list(await asyncio.gather(*(_ask(source, seconds, describe) for source in chain)))


async def _ask(source: Source[T], seconds: float, describe: Callable[[T], str]) -> _SourceCheck:
    started = time.monotonic()
    try:
        answer = await source.read(seconds)
    except SourceFailed as failure:
        return _SourceCheck(source.name, str(failure), failure)
    return _SourceCheck(source.name, f"{describe(answer)}, in {(time.monotonic() - started) * 1000:.0f} ms", None)


def _judge(what: str, answers: Sequence[_SourceCheck], setting: str) -> list[Finding]:
    """A failing source is a warning while another answers; a refused key or a failing chain is a failure."""
    any_usable = any(answer.failure is None for answer in answers)
    found = []
    for answer in answers:
        check = f"{what} from {answer.source}"
        if answer.failure is None:
            found.append(ok(check, answer.says))
        elif isinstance(answer.failure, SourceRefused):
            found.append(failed(check, answer.says, "correct the key; refreshes fail until then"))
        elif any_usable:
            found.append(warn(check, answer.says, "another source of the chain answers"))
        else:
            advice = f"no source of the chain answers: check the network, or add bundled to {setting}"
            found.append(failed(check, answer.says, advice))
    return found
