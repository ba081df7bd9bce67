"""What the tests of exchange rates share: a few days of history beside a refresh."""

from datetime import date
from typing import Any

import pytest

from app.core.db.data_version import raise_version
from app.rates.store import import_days

HISTORY: dict[date, dict[str, float]] = {
    date(2026, 10, 29): {"EUR": 1.0, "USD": 1.16, "SEK": 10.92, "JPY": 177.3},
    date(2026, 10, 30): {"EUR": 1.0, "USD": 1.1554, "SEK": 10.9305, "JPY": 178.04},
    date(2026, 11, 2): {"EUR": 1.0, "USD": 1.1514, "SEK": 10.9155, "JPY": 177.55, "ISK": 144.6},
    date(2026, 11, 3): {"EUR": 1.0, "USD": 1.1491, "SEK": 10.977, "JPY": 176.09, "ISK": 145.2},
}
"""As the European Central Bank quotes: units for one euro; nothing on weekends, and ISK only from November on."""


async def add_history(client: Any, source: str = "ecb", days: dict[date, dict[str, float]] | None = None) -> None:
    async def store(session: Any) -> None:
        await import_days(session, source, HISTORY if days is None else days)
        await raise_version(session)

    await client.state["database"].transaction(store)


@pytest.fixture
async def history(client):
    """The client of a service that has imported rates, and was never refreshed."""
    await add_history(client)
    return client


@pytest.fixture
async def both(loaded):
    """The client of a service that was refreshed once, and has imported rates besides."""
    await add_history(loaded)
    return loaded
