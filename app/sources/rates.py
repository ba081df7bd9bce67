"""The sources of exchange rates."""

from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from typing import Final

import httpx

from app.core.config.addresses import host_of
from app.core.config.settings import Settings
from app.core.config.sources import BUNDLED, RATE_URLS
from app.sources import reference
from app.sources.chain import Source, SourceFailed
from app.sources.client import get_json
from app.sources.rate_shapes import Quotes, parse_quotes

TENFOLD: Final = 10.0
ECB: Final = "ecb"
"""Source name of the rates imported from a file of the European Central Bank."""
ATTRIBUTIONS: Final = {
    "open.er-api.com": "Rates By Exchange Rate API, https://www.exchangerate-api.com",
    ECB: "Source: European Central Bank, https://www.ecb.europa.eu",
}
"""The attributions that sources require beside their rates."""
_NAMES_WITHOUT_HOST: Final = {BUNDLED, ECB, *RATE_URLS} - {host_of(url) for urls in RATE_URLS.values() for url in urls}


def rate_chain(
    names: Sequence[str],
    http: httpx.AsyncClient,
    settings: Settings,
    *,
    today: date,
    previous: Mapping[str, Mapping[str, float]],
    force: bool,
) -> list[Source[Quotes]]:
    """Turn the configured names and URLs into sources.

    Args:
        names: Known names or http(s) URLs, best first.
        http: The client.
        settings: For the size limit.
        today: The day in UTC.
        previous: The last stored rate of each currency, by source.
        force: Accept rates that changed more than tenfold.
    """
    chain = []
    for entry in names:
        name = source_name(entry)
        last = {} if force else previous.get(name, {})
        if entry == BUNDLED:
            chain.append(Source(name, _read_bundled, is_local=True))
            continue
        for url in RATE_URLS.get(entry, (entry,)):
            read = partial(_read_url, http, url, settings.upstream_max_bytes, today, last)
            chain.append(Source(name, read))
    return chain


def source_name(entry: str) -> str:
    """The name of a configured entry in results and in the table of rates."""
    if entry in RATE_URLS or entry == BUNDLED:
        return entry
    host = host_of(entry)
    # A host in a private network may have the name of a source; its rates must not be mixed with that source's.
    return f"{host}/" if host in _NAMES_WITHOUT_HOST else host


async def _read_url(
    http: httpx.AsyncClient, url: str, max_bytes: int, today: date, previous: Mapping[str, float], timeout: float
) -> Quotes:
    answer = await get_json(http, url, timeout=timeout, max_bytes=max_bytes)
    return reject_jumps(parse_quotes(answer.content, today=today), previous)


async def _read_bundled(_: float) -> Quotes:
    return bundled_quotes()


def bundled_quotes() -> Quotes:
    """The bundled rates, of the day on which they were packaged."""
    bundled = reference.rates()
    return Quotes(bundled.day, {**bundled.rates, "USD": 1.0})


def reject_jumps(quotes: Quotes, previous: Mapping[str, float]) -> Quotes:
    """Skip rates that changed more than tenfold since the same source's last ones.

    Raises:
        SourceFailed: All comparable rates did, so the source itself must have changed, such as its base.
    """
    jumps = {
        code: (code, f"its rate changed more than tenfold, from {previous[code]:g} to {rate:g}; force=true accepts it")
        for code, rate in quotes.rates.items()
        if code in previous and not previous[code] / TENFOLD <= rate <= previous[code] * TENFOLD
    }
    rates = {code: rate for code, rate in quotes.rates.items() if code not in jumps}
    comparable = (quotes.rates.keys() & previous.keys()) - {"USD"}
    if comparable and comparable <= jumps.keys():
        raise SourceFailed("answered with rates that all changed more than tenfold; force=true accepts them")
    return Quotes(quotes.day, rates, (*quotes.skipped, *jumps.values()))
