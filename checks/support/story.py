"""Numbered answers of the sources, and a check that all data of a refresh have the same number."""

from datetime import date, datetime
from functools import cache
from typing import Any, NamedTuple

import httpx

from app.countries.picture import render_summary
from app.countries.summary import Summary, rank
from tests.conftest import COUNTRIES, RATES
from tests.support import payloads
from tests.support.upstream import Answer, FakeUpstream, after, document

LOWEST, HIGHEST = 1000.0, 2000.0
"""Limits of the multipliers that the service draws."""


class Story(NamedTuple):
    """The stored refresh."""

    generation: int
    """Number of the sources' answers."""
    refreshed_at: str
    refreshes: int
    """Number of refreshes in the history of a country and in the audit trail."""


@cache
def _documents(generation: int) -> tuple[Answer, Answer]:
    countries = [{**country, "population": generation} for country in payloads.v3_1()]
    quotes = {code: 1.0 if code == "USD" else rate_of(generation) for code in payloads.rates()}
    return document(countries), document({**payloads.er_api(), "rates": quotes})


def rate_of(generation: int) -> float:
    """Units of any other currency that one US dollar buys."""
    return 1000.0 + generation


def set_generation(upstream: FakeUpstream, generation: int, *, seconds: float = 0) -> None:
    """Let the sources answer with this population of all countries and a rate to match, after this time."""
    for path, answer in zip((COUNTRIES, RATES), _documents(generation), strict=True):
        upstream.answers[path] = after(seconds, answer) if seconds else answer


async def read_story(client: httpx.AsyncClient) -> Story:
    """Check that countries, rates, history, picture, status and audit trail agree.

    The client's service must not cache, and no refresh may run.
    """
    countries, status = await _get(client, "/countries"), await _get(client, "/status")
    (generation,) = {country["population"] for country in countries}
    rate, refreshed_at = rate_of(generation), status["last_refreshed_at"]
    assert {country["last_refreshed_at"] for country in countries} == {refreshed_at}
    assert status["total_countries"] == len(countries)
    for country in countries:
        assert country["exchange_rate"] in (rate, *((1.0,) if country["currency_code"] == "USD" else (None,))), country
        if country["exchange_rate"]:
            dollars = generation / country["exchange_rate"]
            assert LOWEST * dollars <= country["estimated_gdp"] <= HIGHEST * dollars, country

    rates = await _get(client, "/rates")
    assert {value for code, value in rates["rates"].items() if code != "USD"} == {rate}
    assert (await client.get("/countries/image")).content == _picture(countries, status)

    country = countries[0]
    history = await client.get(f"/countries/{country['name']}/history?limit=1")
    (entry,) = history.json()
    assert (entry["refreshed_at"], entry["exchange_rate"]) == (refreshed_at, country["exchange_rate"])
    assert entry["estimated_gdp"] == country["estimated_gdp"]
    audit = await client.get("/audit?action=REFRESH_COUNTRIES&limit=1")
    recorded = audit.json()[0]["changes"]["last_refreshed_at"]["after"]
    assert datetime.fromisoformat(recorded) == datetime.fromisoformat(refreshed_at)
    refreshes = int(audit.headers["X-Total-Count"])
    assert int(history.headers["X-Total-Count"]) == refreshes
    return Story(generation, refreshed_at, refreshes)


async def _get(client: httpx.AsyncClient, path: str) -> Any:
    response = await client.get(path)
    assert response.status_code == 200, response.text
    return response.json()


def _picture(countries: list[dict[str, Any]], status: dict[str, Any]) -> bytes:
    """The expected picture of these countries."""
    summary = Summary(
        total_countries=len(countries),
        top=rank((country["name"], country["estimated_gdp"]) for country in countries),
        refreshed_at=datetime.fromisoformat(status["last_refreshed_at"]),
        country_source=status["sources"]["countries"],
        rate_source=status["sources"]["rates"],
        rates_date=date.fromisoformat(status["rates_date"]),
    )
    return render_summary(summary)
