"""A refresh after which many countries would lose their rate is refused, unless forced."""

from typing import Any

import pytest

from tests.conftest import RATES, START, everything
from tests.support import payloads
from tests.support.upstream import Answer, document

TODAY = START.date().isoformat()
SECOND = "/second"
ALL = payloads.rates()


def rows(rates: dict[str, float], days: dict[str, str], other_day: str) -> Answer:
    quotes = [(code, rate, days.get(code, other_day)) for code, rate in rates.items()]
    return document([{"base": "USD", "quote": code, "rate": rate, "date": day} for code, rate, day in quotes])


def of_day(rates: dict[str, float]) -> Answer:
    return document({"base": "USD", "date": TODAY, "rates": rates})


THREE = {code: ALL[code] for code in ("EUR", "GHS", "NGN")}
LOSING: dict[str, Answer] = {
    "three currencies": of_day(THREE),
    "all but one jumped": of_day({code: rate * (1 if code in ("USD", "AED") else 20) for code, rate in ALL.items()}),
    "most are old": rows(ALL, dict.fromkeys(sorted(ALL)[:20], TODAY), "2024-11-27"),
}


async def refresh(client: Any, query: str = "") -> tuple[int, Any]:
    response = await client.post(f"/countries/refresh{query}")
    return response.status_code, response.json()


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize("kind", LOSING)
async def test_answer_that_would_take_many_rates_is_refused_and_the_next_source_asked(service, upstream, kind):
    upstream.answers[SECOND] = document(payloads.er_api(START.date()))
    async with service() as client:
        await refresh(client)
        before = await everything(client)
        upstream.answers[RATES] = LOSING[kind]
        refused = await refresh(client)
        unchanged = await everything(client)
    async with service(rate_sources=f"{upstream.url(RATES)} http://localhost:{upstream.port}{SECOND}") as client:
        second = await refresh(client)
    async with service() as client:
        forced = await refresh(client, "?force=true")

    start, end = "exchange rate API (127.0.0.1: would leave ", " of 250 stored countries without a rate; force=true"
    assert (refused[0], start in refused[1]["details"], end in refused[1]["details"]) == (503, True, True)
    assert unchanged == before
    assert (second[1]["sources"]["rates"], second[1]["countries_without_rate"]) == ("localhost", 0)
    assert (forced[0], forced[1]["sources"]["rates"]) == (200, "127.0.0.1")


@pytest.mark.engines("sqlite")
async def test_source_of_few_currencies_is_accepted_once_and_then_loses_nothing(service, upstream):
    upstream.answers[RATES] = of_day(THREE)
    async with service(rate_sources="bundled") as client:
        await refresh(client)
    async with service() as client:
        after_bundled, again = await refresh(client), await refresh(client)
        state = (await client.get("/status")).json()

    without = after_bundled[1]["countries_without_rate"]
    assert (after_bundled[0], again[0], without > 150) == (200, 200, True)
    assert state["countries_without_rate"] == without


@pytest.mark.engines("sqlite")
async def test_source_of_few_currencies_may_confirm_a_jump(service, upstream):
    async with service() as client:
        await refresh(client)
    upstream.answers |= {
        RATES: document(payloads.er_api(GHS=ALL["GHS"] * 20)),
        SECOND: of_day({"GHS": ALL["GHS"] * 19}),
    }
    async with service(rate_sources=f"{upstream.url(RATES)} http://localhost:{upstream.port}{SECOND}") as client:
        code, report = await refresh(client)

    assert (code, report["skipped"], report["countries_without_rate"]) == (200, [], 0)
