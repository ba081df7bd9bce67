"""Chains: whatever a source does, the next one is asked."""

import asyncio

import pytest

from app.core.errors import UpstreamUnavailable
from app.sources.chain import Source, SourceFailed, SourceRefused, first_usable
from app.sources.rates import rate_chain
from tests.conftest import COUNTRIES, RATES, START, make_settings
from tests.support.upstream import body, in_turn, status


class Unheard(Exception):  # of a library that nobody thought of
    pass


UNFORESEEN = [
    *(OverflowError, UnicodeError, RecursionError, MemoryError, AssertionError, KeyError, OSError, EOFError),
    *(StopAsyncIteration, TimeoutError, ZeroDivisionError, Unheard, ExceptionGroup),
]


def failing(error: BaseException, name: str = "first") -> Source[str]:
    async def read(_: float) -> str:
        raise error

    return Source(name, read)


async def answering(_: float) -> str:
    return "answer"


async def ask(*chain: Source[str]) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    notes: list[tuple[str, str]] = []
    found = await first_usable("some API", chain, timeout=1, note=lambda *note: notes.append(note))
    return found, notes


@pytest.mark.parametrize("kind", UNFORESEEN)
async def test_source_that_fails_in_an_unforeseen_way_is_passed_over_without_its_words(kind):
    error = kind("hush", [ValueError()]) if kind is ExceptionGroup else kind("hush")

    found, notes = await ask(failing(error), Source("second", answering))
    with pytest.raises(UpstreamUnavailable) as alone:
        await ask(failing(error))

    assert found == ("second", "answer")
    assert notes == [("first", "failed"), ("second", "usable")]
    details = f"Could not fetch data from some API (first: failed unexpectedly ({kind.__name__}))"
    assert alone.value.details == details


async def test_cancelled_chain_and_refused_key_end_it():
    for error, raised in ((asyncio.CancelledError(), asyncio.CancelledError), (SourceRefused(), UpstreamUnavailable)):
        with pytest.raises(raised):
            await ask(failing(error), Source("second", answering))


async def test_known_failure_keeps_its_words():
    with pytest.raises(UpstreamUnavailable, match=r"\(first: answered 404\)$"):
        await ask(failing(SourceFailed("answered 404")))


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize(
    "hostile",
    [
        status(503, Retry_After="Fri, 31 Dec 9999 23:59:59 -0100"),
        status(503, Retry_After="Fri, 31 Dec 2027 23:59:59 +99999999999999999999"),
        body(b"", code=302, Location="http://xn--/"),
    ],
)
async def test_refresh_takes_the_next_source_after_hostile_headers(service, upstream, hostile):
    countries, rates = upstream.answers[COUNTRIES], upstream.answers[RATES]
    upstream.answers |= {"/hostile": hostile, COUNTRIES: in_turn(countries), RATES: in_turn(rates)}
    chains = {
        "country_sources": f"{upstream.url('/hostile')} {upstream.url(COUNTRIES)}",
        "rate_sources": f"{upstream.url('/hostile')} {upstream.url(RATES)}",
    }
    async with service(**chains, upstream_timeout_seconds=5) as client:
        response = await client.post("/countries/refresh")

    assert (response.status_code, response.json()["total_countries"]) == (200, 250)


def test_addresses_of_one_source_are_told_apart_by_their_hosts(http):
    names = ("currency-api", "frankfurter", "https://example.com/rates")
    chain = rate_chain(names, http, make_settings(), today=START.date(), previous={}, check=lambda *_: None)

    assert [source.label for source in chain] == [
        "currency-api at cdn.jsdelivr.net",
        "currency-api at latest.currency-api.pages.dev",
        "frankfurter",
        "example.com",
    ]
