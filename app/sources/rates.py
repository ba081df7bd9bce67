"""The sources of exchange rates."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import Final

from loguru import logger

from app.core.config.addresses import host_of
from app.core.config.settings import Settings
from app.core.config.sources import BUNDLED, RATE_URLS
from app.core.errors import UpstreamUnavailable
from app.sources import reference
from app.sources.chain import CHAIN_SECONDS, Source, usable_answers
from app.sources.client import HttpClient
from app.sources.rate_answers import fetch_quotes
from app.sources.rate_checks import KnownRate, are_old, find_jumps, is_confirmed, known_rates, newest_day, without
from app.sources.rate_shapes import Quotes

ECB: Final = "ecb"
"""Source name of the rates imported from a file of the European Central Bank."""
_OF_ECB: Final = (ECB, "www.ecb.europa.eu", "data-api.ecb.europa.eu")
ATTRIBUTIONS: Final = {
    "open.er-api.com": "Rates By Exchange Rate API, https://www.exchangerate-api.com",
    **dict.fromkeys(_OF_ECB, "Source: European Central Bank, https://www.ecb.europa.eu"),
}
"""The attributions that sources require beside their rates."""
_NAMES_WITHOUT_HOST: Final = {BUNDLED, ECB, *RATE_URLS} - {host_of(url) for urls in RATE_URLS.values() for url in urls}


@dataclass(frozen=True)
class RateAnswer:
    """What a source answered, and what speaks against it."""

    quotes: Quotes
    day: date
    """The day of most rates, as of ``newest_day()``."""
    jumps: Mapping[str, str] = field(default_factory=dict)
    """Reasons not to believe a rate unless another source confirms it, by code."""
    outdated: str | None = None
    """Why a later source with newer rates is preferred; None if nothing speaks for one."""
    refused: str | None = None
    """Why it must not be stored; it may still confirm the rates of another source. None if it may."""


@dataclass(frozen=True)
class FetchedRates:
    """The rates that a refresh stores."""

    source: str
    quotes: Quotes
    """Without the rates that are not believed, which are among the skipped ones."""


Check = Callable[[str, Quotes], str | None]
"""Says why the rates of a source, without those that jumped, must not be stored; None if they may."""


def rate_chain(
    names: Sequence[str],
    http: HttpClient,
    settings: Settings,
    *,
    today: date,
    previous: Mapping[str, Mapping[str, KnownRate]],
    check: Check,
    force: bool = False,
    force_rates: Collection[str] = (),
) -> list[Source[RateAnswer]]:
    """Turn the configured names and URLs into sources.

    Args:
        names: Known names or http(s) URLs, best first.
        http: The client.
        settings: For the size limit, the key of URLs with ``{key}``, and the age of rates.
        today: The day in UTC.
        previous: The last stored rate of each currency, by source.
        check: Called for each answer but the bundled rates, unless any is accepted.
        force: Accept rates that changed more than tenfold, and what ``check`` refuses.
        force_rates: Accept them for these currencies.
    """
    chain = []
    for entry in names:
        name = source_name(entry)
        if entry == BUNDLED:
            chain.append(Source(name, _read_bundled, is_local=True))
            continue
        judge = partial(
            _judge,
            today=today,
            max_age=timedelta(settings.max_rate_age_days),
            last=previous.get(name, {}),
            accepted=None if force else force_rates,
            check=partial(check, name),
        )
        read = partial(_read_url, http, settings=settings, today=today, judge=judge)
        urls = RATE_URLS.get(entry, (entry,))
        chain += [Source(name, partial(read, url), host=host_of(url) if len(urls) > 1 else None) for url in urls]
    return chain


def source_name(entry: str) -> str:
    """The name of a configured entry in results and in the table of rates."""
    if entry in RATE_URLS or entry == BUNDLED:
        return entry
    host = host_of(entry)
    # A host in a private network may have the name of a source; its rates must not be mixed with that source's.
    return f"{host}/" if host in _NAMES_WITHOUT_HOST else host


async def _read_url(
    http: HttpClient,
    url: str,
    timeout: float,
    *,
    settings: Settings,
    today: date,
    judge: Callable[[Quotes], RateAnswer],
) -> RateAnswer:
    key, max_bytes = settings.rate_api_key, settings.upstream_max_bytes
    return judge(await fetch_quotes(http, url, key=key, timeout=timeout, max_bytes=max_bytes, today=today))


def _judge(
    quotes: Quotes,
    *,
    today: date,
    max_age: timedelta,
    last: Mapping[str, KnownRate],
    accepted: Collection[str] | None,
    check: Callable[[Quotes], str | None],
) -> RateAnswer:
    """Say what speaks against an answer; ``accepted`` is None if any rates are."""
    known = known_rates(quotes)
    day = newest_day(known, max_age=max_age)
    outdated = None
    if are_old(known, oldest=today - max_age):
        of_day = f"rates of {day}," if day < today - max_age else "rates most of which are"
        outdated = f"answered with {of_day} more than {max_age.days} days old"
    if accepted is None:
        return RateAnswer(quotes, day, outdated=outdated)
    jumps = find_jumps(quotes, last, accepted=accepted)
    return RateAnswer(quotes, day, jumps, outdated, check(without(quotes, jumps)))


async def _read_bundled(_: float) -> RateAnswer:
    quotes = bundled_quotes()
    return RateAnswer(quotes, quotes.day)


def bundled_quotes() -> Quotes:
    """The bundled rates, of the day on which they were packaged; some are older."""
    bundled = reference.rates()
    return Quotes(bundled.day, {**bundled.rates, "USD": 1.0}, days=bundled.days)


async def fetch_rates(
    chain: Sequence[Source[RateAnswer]], *, timeout: float, note: Callable[[str, str], None]
) -> FetchedRates:
    """Ask the sources in order until one has rates that are not outdated; if none has, take the newest.

    Rates that jumped are believed if the next source confirms them. It is asked
    for nothing else, within the time of the chain, and may fail.

    Args:
        chain: The sources, best first.
        timeout: Seconds per source; the whole chain has CHAIN_SECONDS.
        note: As of ``usable_answers()``.

    Raises:
        UpstreamUnavailable: No source gave a usable answer.
    """
    deadline = asyncio.get_running_loop().time() + CHAIN_SECONDS

    async def ask(
        sources: Sequence[Source[RateAnswer]], *, refusal: Callable[[RateAnswer], str | None] = lambda _: None
    ) -> list[tuple[Source[RateAnswer], RateAnswer]]:
        return await usable_answers(
            "exchange rate API",
            sources,
            timeout=timeout,
            deadline=deadline,
            note=note,
            objection=_objection,
            refusal=refusal,
        )

    source, answer = max(await ask(chain, refusal=_refusal), key=lambda given: given[1].day)
    jumps = answer.jumps
    later = [each for each in chain[chain.index(source) + 1 :] if each.name != source.name and not each.is_local]
    if jumps and later and not answer.outdated:
        try:
            other, second = (await ask(later))[-1]
        except UpstreamUnavailable:
            logger.warning("No other source to confirm the rates of {} by {}", ", ".join(jumps), source.name)
        else:
            confirmed = {code for code in jumps if _confirms(second, code, answer.quotes)}
            words = ", ".join(sorted(confirmed)) or "none"
            logger.info("Of the doubted rates of {}, {} confirms {}", source.name, other.name, words)
            jumps = {code: why for code, why in jumps.items() if code not in confirmed}
    return FetchedRates(source.name, without(answer.quotes, jumps))


def _objection(answer: RateAnswer) -> str | None:
    return answer.outdated


def _refusal(answer: RateAnswer) -> str | None:
    return answer.refused


def _confirms(second: RateAnswer, code: str, quotes: Quotes) -> bool:
    return second.outdated is None and is_confirmed(code, quotes, second.quotes)
