"""A Galera cluster for all checks, and services on its nodes."""

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from checks.support import galera
from checks.support.galera import GaleraCluster
from checks.support.processes import sources, started
from tests.conftest import migrate_in_thread
from tests.support import haproxy
from tests.support.haproxy import HAProxy
from tests.support.service import ServiceProcess


@pytest.fixture
def at_full_size(is_full: bool) -> None:
    if not is_full:
        pytest.skip("slow; scripts/checks faults runs it")


@pytest.fixture(scope="session")
def _cluster() -> Iterator[GaleraCluster]:
    if missing := galera.what_is_missing():
        pytest.skip(missing)
    with GaleraCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster):
    """Three healthy nodes, whatever the last check did to them."""
    _cluster.heal()
    return _cluster


@pytest.fixture
def database(cluster) -> str:
    """The name of a migrated, empty database."""
    name: str = cluster.new_database()
    migrate_in_thread(cluster.nodes[0].url(name))
    return name


@pytest.fixture
def proxy(cluster) -> Iterator[HAProxy]:
    if missing := haproxy.what_is_missing():
        pytest.skip(missing)
    with HAProxy(cluster.nodes) as proxy:
        yield proxy


@pytest.fixture
def start(tmp_path, upstream):
    """Run a service for each URL; the result is a client of each."""

    @contextlib.asynccontextmanager
    async def start(*urls: str, **settings: object) -> AsyncIterator[list[httpx.AsyncClient]]:
        all_settings = {"log_requests": "off", **sources(upstream), **settings}
        services = [ServiceProcess(tmp_path, database_url=url, **all_settings) for url in urls]
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(started(*services))
            clients = [httpx.AsyncClient(base_url=service.url, timeout=60) for service in services]
            yield [await stack.enter_async_context(client) for client in clients]

    return start
