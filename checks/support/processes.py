"""Processes for the checks: several of the service at once, and a MariaDB with a migrated database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import Final

import pytest

from tests.conftest import COUNTRIES, RATES, migrate_in_thread
from tests.support.mariadb import PrivateMariaDB, is_installed
from tests.support.service import ServiceProcess
from tests.support.upstream import FakeUpstream

BUNDLED: Final = {"country_sources": "bundled", "rate_sources": "bundled"}
"""Settings of a service that needs no upstream."""


def sources(upstream: FakeUpstream) -> dict[str, str]:
    """Settings of a service that asks this upstream."""
    return {"country_sources": upstream.url(COUNTRIES), "rate_sources": upstream.url(RATES)}


@pytest.fixture
def process_settings(database_url, upstream):
    return {"database_url": database_url, **sources(upstream)}


@pytest.fixture
def new_process(process_settings, tmp_path):
    """Creates processes with these settings and others, not yet started."""
    return partial(ServiceProcess, tmp_path, **process_settings)


@asynccontextmanager
async def started(*processes: ServiceProcess) -> AsyncIterator[None]:
    """Run all of them, started at the same time."""
    async with AsyncExitStack() as stack:
        for process in processes:
            stack.push_async_callback(process.stop)
        await asyncio.gather(*(process.start() for process in processes))
        yield


@contextmanager
def migrated_mariadb(*arguments: str) -> Iterator[PrivateMariaDB]:
    """A server with a migrated database ``service`` and a user of that name without administrator rights."""
    if not is_installed():
        pytest.skip("MariaDB is not installed")
    server = PrivateMariaDB(*arguments)
    try:
        server.execute("CREATE DATABASE service")
        server.add_user("service", "service")
        migrate_in_thread(server.url("service"))
        yield server
    finally:
        server.stop()
