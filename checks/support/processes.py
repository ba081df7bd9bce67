"""Several processes of the service at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.conftest import COUNTRIES, RATES
from tests.support.service import ServiceProcess


@pytest.fixture
def process_settings(database_url, upstream):
    return {
        "database_url": database_url,
        "country_sources": upstream.url(COUNTRIES),
        "rate_sources": upstream.url(RATES),
    }


@asynccontextmanager
async def started(*processes: ServiceProcess) -> AsyncIterator[None]:
    """All of them at the same time."""
    async with AsyncExitStack() as stack:
        for process in processes:
            stack.push_async_callback(process.stop)
        await asyncio.gather(*(process.start() for process in processes))
        yield
