"""Fixtures for all tests: three database engines, a fake upstream, and the service.

MariaDB and PostgreSQL are started for the session; TEST_MYSQL_URL and TEST_POSTGRES_URL name servers to use instead.
With CI=true both are required.
"""

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
from typing import Any

import httpx
import pymysql
import pytest
from fastapi import FastAPI
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from app.core.config.database_url import normalize_database_url
from app.core.config.settings import Settings
from app.core.db.database import Database, create_engine
from app.core.db.dialects import mysql
from app.core.db.migrations import migrate
from app.main import app as default_app
from app.main import create_app
from app.sources.client import HttpClient, create_http_client
from tests.support import payloads
from tests.support.engines import engines_of, missing
from tests.support.mariadb import PrivateMariaDB
from tests.support.postgresql import Console, PrivatePostgreSQL
from tests.support.selection import pytest_collection_finish, pytest_collection_modifyitems  # noqa: F401  # hooks
from tests.support.upstream import Answer, FakeUpstream, document

TABLES = (
    *("country_history", "country", "exchange_rate", "rate_day", "currency_span", "summarycache", "lease"),
    *("audit", "credential", "address", "user", "sms_documents", "sms_transfers"),
)
COUNTRIES, RATES = "/v3.1/all", "/v6/latest/USD"
CHEAP = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
"""The default parameters cost 50 ms of CPU time per password."""
START = datetime(2026, 11, 21, 9, 17, tzinfo=UTC)


def pytest_report_header() -> str:
    return f"engines: NOT tested, because not installed: {', '.join(missing())}" if missing() else "engines: all"


def pytest_configure() -> None:
    if missing() and os.environ.get("CI") == "true":
        reason = (
            "CI needs every engine: install mariadb-server and postgresql, or set TEST_MYSQL_URL and TEST_POSTGRES_URL"
        )
        pytest.exit(reason, returncode=2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine" in metafunc.fixturenames:
        metafunc.parametrize("engine", engines_of(metafunc.definition))


def make_settings(**overrides: Any) -> Settings:
    """Settings that ignore the environment and any .env file."""
    quiet = {"refresh_on_start": "never", "log_requests": "off", "log_level": "ERROR"}
    return Settings(_env_file=None, **{**quiet, **overrides})


def migrate_in_thread(url: str, *, revision: str = "head") -> None:
    """Migrate in a thread, because migrations start an event loop and the tests run in one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(migrate, make_settings(database_url=url), revision=revision).result()


@pytest.fixture(scope="session", autouse=True)
def bare_environment() -> None:
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)


@pytest.fixture(scope="session", autouse=True)
def interruptible_children() -> Iterator[None]:
    """Let processes that tests start receive SIGINT, also if a shell runs the tests in the background.

    A shell starts background jobs with SIGINT ignored, and child processes inherit that.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
def postgresql() -> Iterator[PrivatePostgreSQL]:
    server = PrivatePostgreSQL()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgresql_url(request: pytest.FixtureRequest) -> str:
    """A migrated database on the server."""
    url = os.environ.get("TEST_POSTGRES_URL")
    if url is None:
        server: PrivatePostgreSQL = request.getfixturevalue("postgresql")
        server.create("service")
        url = server.url("service")
    migrate_in_thread(url)
    return url


@pytest.fixture(scope="session")
def postgresql_console(postgresql_url: str) -> Iterator[Console]:
    console = Console(postgresql_url)
    yield console
    console.close()


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
    return emptied_database(request, engine)


def emptied_database(request: pytest.FixtureRequest, engine: str) -> str:
    """The database that all tests of an engine share, without rows."""
    if engine == "sqlite":
        file: Path = request.getfixturevalue("sqlite_file")
        with closing(sqlite3.connect(file)) as sqlite:
            delete_rows(sqlite)
        return f"sqlite:///{file}"
    if engine == "postgresql":
        console: Console = request.getfixturevalue("postgresql_console")
        quoted = [f'"{table}"' for table in TABLES]
        (rows,) = console.execute("SELECT " + ", ".join(f"EXISTS (SELECT 1 FROM {table})" for table in quoted))
        console.execute(
            *(f"DELETE FROM {table}" for table, has_rows in zip(quoted, rows, strict=True) if has_rows), "SELECT 1"
        )
        return console.url
    url: str = request.getfixturevalue("mysql_url")
    bare, tls = mysql.connect_arguments(normalize_database_url(url))
    place = {"host": bare.host, "port": bare.port or 3306, "database": bare.database}
    with pymysql.connect(**place, user=bare.username, password=bare.password or "", **tls) as connection:
        delete_rows(connection)
    return url


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
    if engine.dialect.name == "sqlite":  # need not wait for the disk at each commit: no test cuts the power
        no_wait = "PRAGMA synchronous = OFF"
        event.listen(engine.sync_engine, "connect", lambda connection, _: connection.cursor().execute(no_wait))
    return engine


@asynccontextmanager
async def opened_database(url: str, **changes: Any) -> AsyncIterator[Database]:
    """A database without a service; closed at the end."""
    database = Database(make_settings(database_url=url, **changes))
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture(scope="session")
async def http() -> AsyncIterator[HttpClient]:
    """The client for the sources that all services share: creating one reads every certificate authority."""
    async with create_http_client() as client:
        yield client


@pytest.fixture(scope="session")
async def _upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


@pytest.fixture
def upstream(_upstream: FakeUpstream) -> FakeUpstream:
    """An upstream that answers with 250 countries and today's rates."""
    _upstream.reset()
    _upstream.answers |= usual_answers()
    return _upstream


@cache
def usual_answers() -> dict[str, Answer]:
    """Built once, because answers are replaced and never changed."""
    return {COUNTRIES: document(payloads.v3_1()), RATES: document(payloads.er_api())}


@pytest.fixture
def settings(database_url: str, upstream: FakeUpstream) -> Settings:
    return make_settings(
        database_url=database_url,
        country_sources=upstream.url(COUNTRIES),
        rate_sources=upstream.url(RATES),
        upstream_timeout_seconds=1.5,
    )


Service = Callable[..., Any]
"""Starts the service with some settings changed, and yields a client."""


class Client(httpx.AsyncClient):
    """A client of one service, with access to the state of its application."""

    state: dict[str, Any]


def take_routes(app: FastAPI, other: FastAPI) -> None:
    """Let an application share the routes of another one.

    FastAPI builds them at the first request, which takes 110 ms, more than most tests. They depend on no setting, as a
    test of the document proves; layers, state and error handlers do, and stay the application's own.
    """
    app.router.routes = other.router.routes


@asynccontextmanager
async def serving(settings: Settings, **parts: Any) -> AsyncIterator[Client]:
    """Run the whole application in this event loop, with its start and stop."""
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
    """A clock that starts at START and advances by a microsecond per call."""
    ticks = count()
    return lambda: START.replace(microsecond=next(ticks))


@pytest.fixture
def service(settings: Settings, http: HttpClient, idle_engines: dict[str, list[AsyncEngine]]) -> Service:
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
    """The client of a service after one refresh."""
    response = await client.post("/countries/refresh")
    assert response.status_code == 200, response.text
    await until_loaded(client)
    return client


async def until_loaded(client: Client) -> None:
    """The service reads the data at its start and after each change, whether or not somebody asks for them."""
    await client.state["snapshots"].fill()


async def everything(client: httpx.AsyncClient) -> dict[str, Any]:
    """Everything that a refresh may change, to compare before and after."""
    return {
        "countries": (await client.get("/countries")).text,
        "status": (await client.get("/status")).text,
        "image": (await client.get("/countries/image")).content,
    }
