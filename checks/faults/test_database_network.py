"""Faults of the network between the service and its database, under readers and writers of every slice."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from checks.support.outage import AT_MOST, CHANGES
from checks.support.scene import Fault, Scene, staged
from tests.conftest import migrate_in_thread
from tests.rates.test_import import newest_lines, rows_of, run, write
from tests.support.fault_proxy import FaultProxy
from tests.support.mariadb import PrivateMariaDB, is_installed

pytestmark = [pytest.mark.skipif(not is_installed(), reason="MariaDB is not installed"), pytest.mark.slow]


@pytest.fixture(scope="module")
async def scene(tmp_path_factory, is_full):
    server = PrivateMariaDB()
    server.execute("CREATE DATABASE service")
    server.add_user("service", "service")
    migrate_in_thread(server.url("service"))
    folder = tmp_path_factory.mktemp("service")
    async with FaultProxy(server.port) as proxy:
        url = server.url("service", user="service", port=proxy.port)
        async with staged(folder, url, is_full=is_full, server=server, proxy=proxy) as scene:
            yield scene
    server.stop()


def treated(**how: Any) -> Fault:
    @asynccontextmanager
    async def fault(scene: Scene) -> AsyncIterator[None]:
        for name, value in how.items():
            setattr(scene.proxy, name, value)
        try:
            yield
        finally:
            scene.proxy.heal()

    return fault


@asynccontextmanager
async def refused(scene: Scene):
    await scene.proxy.stop()
    try:
        yield
    finally:
        await scene.proxy.start()


@asynccontextmanager
async def reset(scene: Scene):
    scene.proxy.is_refusing = True
    scene.proxy.cut()
    try:
        yield
    finally:
        scene.proxy.heal()


@asynccontextmanager
async def black_hole(scene: Scene):
    scene.proxy.is_black_hole = True
    try:
        yield
    finally:
        scene.proxy.lose()
        scene.proxy.heal()


@asynccontextmanager
async def cut_again_and_again(scene: Scene):
    """In the middle of answers: after a few bytes, in the next few rows, or much later."""

    async def cut() -> None:
        for size in itertools.cycle((1, 40, 700, 5, 3000, 200, 30_000)):
            scene.proxy.cut_after = size
            await asyncio.sleep(0.1)

    cutting = asyncio.create_task(cut())
    try:
        yield
    finally:
        cutting.cancel()
        scene.proxy.heal()


AWAY = [
    pytest.param(refused, marks=pytest.mark.row("4.10 network refuses connections")),
    pytest.param(reset, marks=pytest.mark.row("4.11 network resets connections")),
    pytest.param(black_hole, marks=pytest.mark.row("4.12 network is a black hole, old connections for ever")),
    pytest.param(treated(is_garbling=True), marks=pytest.mark.row("4.13 network delivers garbage")),
]
POOR = [
    pytest.param(treated(delay=0.05), marks=pytest.mark.row("4.14 network slow by 0.05 s a packet")),
    pytest.param(treated(delay=0.25), marks=pytest.mark.row("4.14 network slow by 0.25 s a packet")),
    pytest.param(treated(delay=0.6), marks=pytest.mark.row("4.14 network slow by 0.6 s a packet")),
    pytest.param(treated(bytes_per_second=2000), marks=pytest.mark.row("4.15 network narrow, 2 kB/s")),
    pytest.param(cut_again_and_again, marks=pytest.mark.row("4.16 network cut in the middle of answers")),
]


@pytest.mark.parametrize("fault", AWAY)
async def test_database_out_of_reach_is_503_until_it_is_back(scene, figure, fault):
    """Readers get what is in memory, marked as stale; all others 503 in time.

    Broken on purpose: without the bound of the handshake changes of many documents hung, and with what aiomysql raises
    at a reset of a new connection passed on they were 500.
    """
    figure((await scene.suffer(fault, is_away=True, seconds=max(scene.seconds, AT_MOST))).figure())


@pytest.mark.parametrize("fault", POOR)
async def test_poor_network_is_an_answer_or_503_in_time(scene, figure, fault):
    """Some are served and some are not, none too late and none wrong.

    Broken on purpose: with a bound for each unit of work alone a refresh took 8.8 s.
    """
    figure((await scene.suffer(fault, is_away=False)).figure())


@pytest.mark.row("4.17 network cut at COMMIT")
@pytest.mark.parametrize("is_late", [False, True])
async def test_change_whose_commit_gets_no_answer_says_so(scene, figure, is_late):
    """Whoever reads 503 can tell a change that was not made from one that may have been.

    Broken on purpose: with the same answer for both, an account had a name whose change had been refused.
    """
    cuts = scene.proxy.cuts
    fault = treated(cut_at=(b"INSERT", b"COMMIT"), is_cut_late=is_late)
    # A refresh whose commit did happen finds its own result when it is tried again.
    impossible = CHANGES - {"refresh"} if is_late else CHANGES
    outage = await scene.suffer(fault, is_away=False, refused=impossible)
    assert scene.proxy.cuts > cuts
    figure(f"{scene.proxy.cuts - cuts} cuts {'behind' if is_late else 'before'} it; {outage.figure()}")


@pytest.mark.row("4.18 network cut at COMMIT under an import of rates")
async def test_import_whose_commits_get_no_answer_stores_every_rate_once(scene, figure, is_full, tmp_path):
    """A piece whose commit got no answer is looked for, and not stored twice.

    Broken on purpose: with pieces that are not repeatable the import ended with an error at the first cut.
    """
    lines, cuts = newest_lines(3000 if is_full else 400), scene.proxy.cuts
    async with treated(cut_at=(b"INSERT", b"COMMIT"), is_cut_late=True)(scene):
        result = await run(write(tmp_path / "hist.csv", lines), through(scene))
    stored = scene.server.execute("SELECT COUNT(*) FROM service.exchange_rate WHERE source = 'ecb'")[0][0]
    told = scene.server.execute("SELECT COUNT(*) FROM service.audit WHERE action = 'IMPORT_RATES'")[0][0]

    assert (result.code, stored) == (0, len(rows_of(lines))), result.err
    assert 0 < told <= scene.proxy.cuts - cuts  # some are those of leases
    figure(f"{stored} rates in {told} pieces, each stored and told of once though its commit got no answer")


def through(scene: Scene) -> str:
    url: str = scene.server.url("service", user="service", port=scene.proxy.port)
    return url
