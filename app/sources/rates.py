"""Where the day's exchange rates come from."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from functools import partial
from importlib import resources
from typing import Final

import httpx

from app.core.config.addresses import host_of
from app.core.config.settings import Settings
from app.sources.chain import Source, SourceFailed
from app.sources.client import get_json
from app.sources.rate_shapes import Quotes, parse_quotes

BUNDLED: Final = "bundled"

_URLS: Final = {
    "open.er-api.com": ("https://open.er-api.com/v6/latest/USD",),
    "currency-api": (
        "https://cdn.jsdelivr.net/npm/@fawazahmed0/currency-api@latest/v1/currencies/usd.min.json",
        "https://latest.currency-api.pages.dev/v1/currencies/usd.min.json",
    ),
    "frankfurter": ("https://api.frankfurter.dev/v2/rates?base=USD",),
}
TENFOLD: Final = 10.0
ECB: Final = "ecb"
"""Name under which the European Central Bank's rates are imported."""
ATTRIBUTIONS: Final = {
    "open.er-api.com": "Rates By Exchange Rate API, https://www.exchangerate-api.com",
    ECB: "Source: European Central Bank, https://www.ecb.europa.eu",
}
"""What sources ask to be shown beside their rates."""


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
        previous: For each source, the last stored rate of each currency.
        force: Believe rates that moved more than tenfold.
    """
    chain = []
    for entry in names:
        name = source_name(entry)
        known = {} if force else previous.get(name, {})
        if entry == BUNDLED:
            chain.append(Source(name, _read_bundled, is_local=True))
            continue
        for url in _URLS.get(entry, (entry,)):
            read = partial(_read_url, http, url, settings.upstream_max_bytes, today, known)
            chain.append(Source(name, read))
    return chain


def source_name(entry: str) -> str:
    """What a configured entry is called in reports and in the table of rates."""
    if entry in _URLS or entry == BUNDLED:
        return entry
    host = host_of(entry)
    # A host in a private network may be called like anything; its rates must not get among those of another.
    return f"{host}/" if host in {BUNDLED, ECB, "currency-api", "frankfurter"} else host


async def _read_url(
    http: httpx.AsyncClient, url: str, max_bytes: int, today: date, known: Mapping[str, float], timeout: float
) -> Quotes:
    answer = await get_json(http, url, timeout=timeout, max_bytes=max_bytes)
    return believable(parse_quotes(answer.content, today=today), known)


async def _read_bundled(_: float) -> Quotes:
    return bundled_quotes()


def bundled_quotes() -> Quotes:
    """The rates that ship with the service, of the day on which they were packed."""
    text = (resources.files("app.sources") / "data" / "rates.json").read_text("utf-8")
    content = json.loads(text)
    return Quotes(date.fromisoformat(content["date"]), {**content["rates"], "USD": 1.0})


def believable(quotes: Quotes, previous: Mapping[str, float]) -> Quotes:
    """Leave out rates that moved more than tenfold against the same source's last ones.

    Raises:
        SourceFailed: Every rate that can be compared moved so: it is the source that changed, not the world.
    """
    moved = {
        code: (code, f"its rate moved more than tenfold, from {previous[code]:g} to {rate:g}; force=true accepts it")
        for code, rate in quotes.rates.items()
        if code in previous and not previous[code] / TENFOLD <= rate <= previous[code] * TENFOLD
    }
    rates = {code: rate for code, rate in quotes.rates.items() if code not in moved}
    comparable = (quotes.rates.keys() & previous.keys()) - {"USD"}
    if comparable and comparable <= moved.keys():
        raise SourceFailed("answered with rates that all moved more than tenfold; force=true accepts them")
    return Quotes(quotes.day, rates, (*quotes.skipped, *moved.values()))
