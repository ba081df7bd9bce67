"""What the tests share: both engines, a fake upstream, and the service between them.

Every behavioural test runs on SQLite and on a MariaDB that the session starts
for itself; TEST_MYSQL_URL names a server to use instead. Where there is none
the run says so in one line, and under CI=true that is an error.
"""

import gc
import os
import shutil
import signal
import sqlite3
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Any, Protocol

import httpx
import pymysql
import pytest
from fastapi import FastAPI
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.config.database_url import normalize_database_url
from app.core.config.settings import Settings
from app.core.db.database import Database
from app.core.db.dialects import mysql
from app.core.db.engine import create_engine
from app.core.db.migrations import migrate
from app.main import app as default_app
from app.main import create_app
from app.sources.client import create_http_client
from tests.support import payloads
from tests.support.mariadb import PrivateMariaDB, is_installed
from tests.support.rows import (  # noqa: F401  # fixtures and hooks
    figure,
    is_full,
    pytest_addoption,
    pytest_runtest_makereport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)
from tests.support.upstream import Answer, FakeUpstream, document

TABLES = (
    "country_history",
    "country",
    "exchange_rate",
    "rate_day",
    "currency_span",
    "summarycache",
    "lease",
    "audit",
    "credential",
    "address",
    "user",
    "sms_documents",
    "sms_transfers",
)
LONGEST = (
    "test_processes.py",
    "test_pool.py",
    "test_deployment.py",
    "test_migrations.py",
    "test_cli.py",
    "test_database_server.py",
    "test_audit_delivery.py",
    "test_client.py",
    "test_stream.py",
)
COUNTRIES, RATES = "/v3.1/all", "/v6/latest/USD"
CHEAP = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
"""The real thing takes 50 ms of a core for each password."""
START = datetime(2026, 11, 21, 9, 17, tzinfo=UTC)


def has_mysql() -> bool:
    return "TEST_MYSQL_URL" in os.environ or is_installed()


def pytest_report_header() -> str:
    return (
        "engines: SQLite and MariaDB" if has_mysql() else "engines: SQLite only, MariaDB is NOT tested: not installed"
    )


def pytest_configure() -> None:
    if not has_mysql() and os.environ.get("CI") == "true":
        pytest.exit("MariaDB is needed in CI: install mariadb-server or set TEST_MYSQL_URL", returncode=2)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is slow, and put the longest first: the others help out with the rest, and can't with these."""
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if not config.getoption("-m"):
        config.hook.pytest_deselected(items=[item for item in items if is_slow(item)])
        items[:] = [item for item in items if not is_slow(item)]


def is_slow(item: pytest.Item) -> bool:
    """Whether a test takes seconds, or does so on an engine on which it says nothing new most of the time."""
    engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
    return any(not marker.args or engine in marker.args for marker in item.iter_markers("slow"))


def pytest_collection_finish() -> None:
    """What was imported and collected stays, and need not be searched for garbage again and again."""
    gc.collect()
    gc.freeze()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        only = metafunc.definition.get_closest_marker("engines")
        wanted = only.args if only else ("sqlite", "mariadb")
        metafunc.parametrize("engine", [engine for engine in wanted if engine == "sqlite" or has_mysql()])


def make_settings(**overrides: Any) -> Settings:
    """Settings that no environment and no .env can change."""
    quiet = {"refresh_on_start": "never", "log_requests": "off", "log_level": "ERROR"}
    return Settings(_env_file=None, **{**quiet, **overrides})


def migrate_in_thread(url: str, *, revision: str = "head") -> None:
    """Migrations start an event loop of their own, which the thread of the tests already has."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(migrate, make_settings(database_url=url), revision=revision).result()


@pytest.fixture(scope="session", autouse=True)
def bare_environment() -> None:
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)


@pytest.fixture(scope="session", autouse=True)
def interruptible_children() -> Iterator[None]:
    """A shell starts what runs in the background with SIGINT ignored, and so would be all that the tests start."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


<<
@pytest.fixture(scope="session", autouse=True)
def one_certificate_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """HTTP clients load one authority instead of all, which takes 20 ms for each client; no test asks over HTTPS."""
    certificate, _ = make_certificate(tmp_path_factory.mktemp("authority"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("certifi.where", lambda: str(certificate))
        yield


@pytest.fixture(scope="session", autouse=True)
def remembered_paths_of_python() -> Iterator[None]:
    """Loguru asks for dozens of them, which take 5 ms, each time that a service sets up its log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysconfig, "get_path", cache(sysconfig.get_path))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_search_for_sniffio() -> Iterator[None]:
    """The HTTP client tries to import it several times for each request, and searches every path for what is absent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sniffio", None)
        yield


@pytest.fixture(scope="session", autouse=True)
def remembered_pictures() -> Iterator[None]:
    """Each refresh draws one, for 20 ms, and most tests load the same data; equal summaries have equal pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture, "render_summary", lru_cache(maxsize=64)(render_summary))
        yield


@pytest.fixture(scope="session", autouse=True)
def hasty_sqlite() -> Iterator[None]:
    """SQLite does not wait for the disk, which would take longer than all its work: no test cuts the power."""

    def hurry(connection: DBAPIConnection, _: object) -> None:
        connection.cursor().execute("PRAGMA synchronous = OFF")

    def prepare_and_hurry(engine: AsyncEngine, **bounds: float) -> None:
        prepare(engine, **bounds)
        event.listen(engine.sync_engine, "connect", hurry)

    prepare = sqlite.prepare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "prepare", prepare_and_hurry)
        yield


@pytest.fixture(scope="session", autouse=True)
def remembered_statements() -> Iterator[None]:
    """Each service has an engine of its own, which would compile every statement anew, for 30 ms in each test.

    SQLAlchemy's cache finds a statement by its dialect and by everything that its text depends on, so that engines of
    one kind share what each of them would have made itself. A fault of the cache would show more often, not less.
    """

    def kind(dialect: DefaultDialect) -> Hashable:
        return type(dialect), dialect.server_version_info

    def create_and_share(settings: Settings) -> AsyncEngine:
        engine = create_engine(settings)
        engine.sync_engine.update_execution_options(compiled_cache=compiled)
        return engine

    compiled: LRUCache[Any, Any] = LRUCache(1000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DefaultDialect, "__eq__", lambda one, other: kind(one) == kind(other))
        patch.setattr(DefaultDialect, "__hash__", lambda dialect: hash(kind(dialect)))
        patch.setattr(databases, "create_engine", create_and_share)
        yield


==
>>
@pytest.fixture(scope="session")
def mariadb() -> Iterator[PrivateMariaDB]:
    server = PrivateMariaDB()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mysql_url(request: pytest.FixtureRequest) -> str:
    """A migrated database on the server."""
    url = os.environ.get("TEST_MYSQL_URL")
    if url is None:
        server: PrivateMariaDB = request.getfixturevalue("mariadb")
        server.execute("CREATE DATABASE service")
        url = server.url("service")
    migrate_in_thread(url)
    return url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated and empty file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrate_in_thread(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def sqlite_file(sqlite_template: Path) -> Path:
    """The SQLite file that all tests share."""
    return Path(shutil.copy(sqlite_template, sqlite_template.with_name("countries.db")))


@pytest.fixture
def database_url(engine: str, request: pytest.FixtureRequest) -> str:
    """A migrated database on the engine of this test, emptied of the rows of earlier tests."""
    if engine == "sqlite":
        file: Path = request.getfixturevalue("sqlite_file")
        with closing(sqlite3.connect(file)) as sqlite:
            delete_rows(sqlite)
        return f"sqlite:///{file}"
    url: str = request.getfixturevalue("mysql_url")
    bare, tls = mysql.connect_arguments(normalize_database_url(url))
    place = {"host": bare.host, "port": bare.port or 3306, "database": bare.database}
    with pymysql.connect(**place, user=bare.username, password=bare.password or "", **tls) as mysql:
        delete_rows(mysql)
    return url


<<
def empty_mysql(url: str) -> None:
    """By the bare driver, and only what has rows: an engine of its own and thirteen statements took 10 ms."""
    bare, tls = mysql.connect_arguments(normalize_database_url(url))
    place = {"host": bare.host, "port": bare.port or 3306, "database": bare.database}
    with pymysql.connect(**place, user=bare.username, password=bare.password or "", **tls) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT " + ", ".join(f"EXISTS (SELECT 1 FROM {table})" for table in TABLES))
        for table, has_rows in zip(TABLES, cursor.fetchone(), strict=True):
            if has_rows:
                cursor.execute(f"DELETE FROM {table}")
        connection.commit()
==
def delete_rows(connection: Any) -> None:
    """Empty the tables that have rows, which are few after most tests."""
    cursor = connection.cursor()
    cursor.execute("SELECT " + ", ".join(f"EXISTS (SELECT 1 FROM {table})" for table in TABLES))
    for table, has_rows in zip(TABLES, cursor.fetchone(), strict=True):
        if has_rows:
            cursor.execute(f"DELETE FROM {table}")
    connection.commit()


@pytest.fixture(scope="session")
async def idle_engines() -> AsyncIterator[dict[str, list[AsyncEngine]]]:
    """By database URL, the engines that no service uses now.

    They outlive the tests, because a new engine compiles every statement again, which takes longer than most tests.
    Each is lent to one service at a time: two services in a test act as two processes, each with its own connections.
    """
    engines: defaultdict[str, list[AsyncEngine]] = defaultdict(list)
    yield engines
    for engine in chain.from_iterable(engines.values()):
        await engine.dispose()


def create_lent_engine(settings: Settings) -> AsyncEngine:
    engine = create_engine(settings)
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", hurry)
    return engine


def hurry(connection: DBAPIConnection, _: object) -> None:
    """Let SQLite not wait for the disk at each commit: no test cuts the power."""
    connection.cursor().execute("PRAGMA synchronous = OFF")
>>


@asynccontextmanager
async def opened_database(url: str, **changes: Any) -> AsyncIterator[Database]:
    """The database without a service around it; it is closed also where the test fails."""
    database = Database(make_settings(database_url=url, **changes))
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture(scope="session")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """The client for the sources that all services share: creating one reads every certificate authority."""
    async with create_http_client() as client:
        yield client


@pytest.fixture(scope="session")
async def _upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture
def upstream(_upstream: FakeUpstream) -> FakeUpstream:
    """An upstream that answers with 250 countries and the day's rates."""
    _upstream.reset()
    _upstream.answers |= usual_answers()
    return _upstream


@cache
def usual_answers() -> dict[str, Answer]:
    """Made once: the bytes of an answer are never changed, only replaced."""
    return {COUNTRIES: document(payloads.v3_1()), RATES: document(payloads.er_api())}


@pytest.fixture
def settings(database_url: str, upstream: FakeUpstream) -> Settings:
    return make_settings(
        database_url=database_url,
        country_sources=upstream.url(COUNTRIES),
        rate_sources=upstream.url(RATES),
        upstream_timeout_seconds=1.5,
    )


class Service(Protocol):
    """Starts the service with some settings changed; a client of it."""

    def __call__(
        self, *, real_clock: bool = False, monotonic: Callable[[], float] = time.monotonic, **changes: Any
    ) -> Any: ...


class Client(httpx.AsyncClient):
    """Talks to one service, and can reach into it where a test has to hold something there."""

    state: dict[str, Any]


def take_routes(app: FastAPI, other: FastAPI) -> None:
    """Let an application use routes and document of another, whose routes are the same.

    To make them anew at the first request would cost more than all the rest of a start. No setting reaches a route,
    which a test of the document holds; what depends on settings is in the layers, the state and the error handlers,
    and these stay the application's own.
    """
    app.router.routes = other.router.routes
    app.openapi = other.openapi  # type: ignore[method-assign]


@asynccontextmanager
async def serving(settings: Settings, **parts: Any) -> AsyncIterator[Client]:
    """The whole application with its start and stop, in this event loop."""
    app = create_app(settings, **{"hasher": CHEAP, **parts})
    take_routes(app, default_app)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with Client(transport=transport, base_url="http://service", timeout=60) as client:
            client.state = dict(state or {})
            yield client


def ticking_clock() -> Callable[[], datetime]:
    """Starts at START and moves on by a microsecond at each look."""
    ticks = count()
    return lambda: START.replace(microsecond=next(ticks))


@pytest.fixture
def service(settings: Settings, http: httpx.AsyncClient, idle_engines: dict[str, list[AsyncEngine]]) -> Service:
    idle = idle_engines[settings.database_url.get_secret_value()]

    @asynccontextmanager
    async def start(
        *, real_clock: bool = False, monotonic: Callable[[], float] = time.monotonic, **changes: Any
    ) -> AsyncIterator[Client]:
        changed = make_settings(**{**settings.model_dump(), **changes}) if changes else settings
        parts: dict[str, Any] = {"monotonic": monotonic, "http": http, "draw_multiplier": lambda: 1500.0}
        if not real_clock:
            parts["clock"] = ticking_clock()
        if any(name.startswith(("database_", "db_")) for name in changes):
            async with serving(changed, **parts) as client:
                yield client
            return
        engine = idle.pop() if idle else create_lent_engine(settings)
        try:
            async with serving(changed, engine=engine, **parts) as client:
                yield client
        finally:
            idle.append(engine)

    return start


@pytest.fixture
async def client(service: Service) -> AsyncIterator[Client]:
    async with service() as started:
        yield started


@pytest.fixture
async def loaded(client: Client) -> Client:
    """The client of a service that was refreshed once."""
    response = await client.post("/countries/refresh")
    assert response.status_code == 200, response.text
    return client


async def everything(client: httpx.AsyncClient) -> dict[str, Any]:
    """All that a refresh may change, for comparing before and after."""
    return {
        "countries": (await client.get("/countries")).text,
        "status": (await client.get("/status")).text,
        "image": (await client.get("/countries/image")).content,
    }
