"""A start on a database that is broken, refuses, or may only be read."""

import itertools
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from app.core.db.migrations import head_revision
from tests.conftest import Client, make_settings, serving
from tests.support.command import run
from tests.support.engines import has
from tests.support.mariadb import PrivateMariaDB
from tests.support.postgresql import PrivatePostgreSQL
from tests.support.service import environment

HUSH = "hush-hush-hush"
DAMAGED = "correct DATABASE_URL, or stop the service and restore the file from a backup"
UNWRITABLE = "correct DATABASE_URL, or make the file and its folder writable"
needs_mariadb = pytest.mark.skipif(
    not has("mariadb") or "TEST_MYSQL_URL" in os.environ, reason="makes users, which needs a server of its own"
)
needs_postgresql = pytest.mark.skipif(
    not has("postgresql") or "TEST_POSTGRES_URL" in os.environ, reason="makes users, which needs a server of its own"
)


@pytest.fixture
def file(sqlite_template: Path, tmp_path: Path) -> Path:
    """A migrated and empty database."""
    return Path(shutil.copy(sqlite_template, tmp_path / "countries.db"))


def damage(file: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,), (size,) = (
            connection.execute(query, (table,)).fetchone(),
            connection.execute("PRAGMA page_size").fetchone(),
        )
    with file.open("r+b") as content:
        content.seek((page - 1) * size)
        content.write(b"\xff" * size)


async def failure_of_a_start(url: str) -> str:
    """The only line of a start that fails."""
    result = await run("migrate", DATABASE_URL=url)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1), result
    return result.err.removeprefix("Database unavailable: ").strip()


async def test_file_that_is_not_a_usable_database_ends_a_start_at_once_with_one_line(file: Path, tmp_path: Path):
    other = tmp_path / "notes.db"
    other.write_text("not a database\n" * 300)
    damage(file, "alembic_version")

    assert await failure_of_a_start(f"sqlite:///{other}") == f"file is not a database; {DAMAGED}"
    assert await failure_of_a_start(f"sqlite:///{file}") == f"database disk image is malformed; {DAMAGED}"
    assert await failure_of_a_start("sqlite:////proc/x.db") == f"unable to open database file; {UNWRITABLE}"


@needs_mariadb
async def test_server_that_refuses_ends_a_start_at_once_with_one_line(mariadb: PrivateMariaDB, mysql_url: str):
    grant = "grant the user all rights on the database of DATABASE_URL"
    mariadb.execute("CREATE OR REPLACE USER stranger@'%'")
    refusals = {
        mariadb.url("service", user=f"stranger:{HUSH}"): "correct user and password in DATABASE_URL",
        mariadb.url("service", user="stranger"): grant,
        mariadb.url("nothing"): "make the database that DATABASE_URL names, or correct the name",
    }

    for url, advice in refusals.items():
        line = await failure_of_a_start(url)
        assert line.endswith(f"; {advice}")
        assert HUSH not in line


@needs_postgresql
async def test_postgresql_that_refuses_ends_a_start_at_once_with_one_line(postgresql: PrivatePostgreSQL):
    postgresql.create("strange")
    postgresql.execute("CREATE ROLE guest LOGIN", "SELECT 1")
    identity = "correct user, sslmode, sslrootcert or the host in DATABASE_URL"
    options = "use PostgreSQL 14 or newer, or correct the options in DATABASE_URL"
    owner = "make the user the owner of the database and its tables, such as by ALTER DATABASE name OWNER TO user"
    postgresql.execute(
        "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc TEMPLATE template0", "SELECT 1"
    )
    refusals = {
        postgresql.url("strange", user=f"nobody:{HUSH}"): identity,
        f"{postgresql.url('strange')}?sslmode=require": identity,
        f"{postgresql.url('strange')}?options=-cno_such_setting%3D1": options,
        f"{postgresql.url('strange')}?options=-csearch_path%3Dnosuch": (
            "create the schema that search_path names, or correct it"
        ),
        postgresql.url("strange", user="guest"): owner,
        postgresql.url("latin"): "create the database with ENCODING 'UTF8' TEMPLATE template0",
        postgresql.url("nothing"): "make the database that DATABASE_URL names, or correct the name",
    }

    for url, advice in refusals.items():
        line = await failure_of_a_start(url)
        assert line.endswith(f"; {advice}")
        assert HUSH not in line


@needs_postgresql
async def test_start_on_postgresql_that_may_only_be_read_succeeds_if_it_is_up_to_date(
    postgresql: PrivatePostgreSQL, postgresql_url: str
):
    rights = ("CREATE ROLE viewer LOGIN", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO viewer", "SELECT 1")
    postgresql.execute(*rights, database="service")

    result = await run("migrate", DATABASE_URL=postgresql.url("service", user="viewer"))

    assert (result.code, result.err) == (0, "")


@needs_mariadb
async def test_start_on_a_server_that_may_only_be_read_succeeds_if_it_is_up_to_date(
    mariadb: PrivateMariaDB, mysql_url: str
):
    mariadb.execute("CREATE OR REPLACE USER viewer@'%'", "GRANT SELECT ON service.* TO viewer@'%'")

    result = await run("migrate", DATABASE_URL=mariadb.url("service", user="viewer"))

    assert (result.code, result.err) == (0, "")


def test_start_imports_no_package_before_its_first_use(file: Path):
    unused = "alembic aiomysql asyncpg httpx jinja2 opentelemetry.sdk PIL prometheus_client rapidfuzz rich"
    start = "from app.core.config.settings import load_settings; from app.core.db.migrations import migrate"
    listing = f"print([name for name in '{unused}'.split() if name in sys.modules])"
    script = f"import sys, app.cli.app, app.main; {start}; migrate(load_settings()); {listing}"
    settings = environment(database_url=f"sqlite:///{file}")
    result = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"


def without_privileges(*command: str) -> list[str]:
    """Root may write everything, unless it gives up that capability."""
    capabilities = ("--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
    return [*(() if os.geteuid() else ("setpriv", *capabilities)), *command]


@pytest.mark.skipif(not os.geteuid() and not shutil.which("setpriv"), reason="root needs setpriv (util-linux)")
def test_start_on_a_read_only_file_succeeds_if_it_is_up_to_date(file: Path, tmp_path: Path):
    def migrate() -> subprocess.CompletedProcess[str]:
        command = without_privileges(sys.executable, "-m", "app", "migrate")
        settings = environment(database_url=f"sqlite:///{file}", log_level="WARNING")
        return subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)

    file.chmod(0o444)
    succeeded = migrate()
    file.chmod(0o644)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM alembic_version")
        connection.commit()
    file.chmod(0o444)
    failed = migrate()

    assert (succeeded.returncode, succeeded.stderr) == (0, "")
    reason = "attempt to write a readonly database"
    assert (failed.returncode, failed.stderr) == (1, f"Database unavailable: {reason}; {UNWRITABLE}\n")


@pytest.fixture
async def damaged(file: Path) -> AsyncIterator[tuple[Client, Callable[[], object]]]:
    """A service on a file whose countries are damaged, and a function that restores it."""
    backup = shutil.copy(file, file.with_suffix(".backup"))
    damage(file, "country")
    settings = make_settings(database_url=f"sqlite:///{file}", cache_max_bytes=0)
    seconds = itertools.count()
    # Each look at the clock is a second later, so that no result of the readiness check is shown again.
    async with serving(settings, monotonic=lambda: float(next(seconds))) as client:
        yield client, lambda: shutil.copy(backup, file)


async def test_damaged_file_is_503_also_for_readiness_and_200_once_it_is_restored(damaged, capsys):
    client, restore = damaged
    details = "The file is not an SQLite database, or is damaged"

    listed, logged, ready = await client.get("/countries"), capsys.readouterr().err, await client.get("/health/ready")
    restore()
    again = [(await client.get(path)).status_code for path in ("/health/ready", "/countries")]

    assert (listed.status_code, listed.json()) == (503, {"error": "Database unavailable", "details": details})
    assert (ready.status_code, ready.json()) == (503, {"error": "Not ready", "details": {"database": details}})
    assert again == [200, 200]
    assert logged.count("\n") == 1
    assert logged.endswith("Database: (sqlite3.DatabaseError) database disk image is malformed\n")


async def test_doctor_finds_damage_that_no_request_has_met_yet(file: Path):
    damage(file, "country")
    result = await run("doctor", DATABASE_URL=f"sqlite:///{file}", COUNTRY_SOURCES="bundled", RATE_SOURCES="bundled")

    (line,) = [line for line in result.out.splitlines() if "database: " in line]
    assert result.code == 1
    assert line.startswith(f"fail  database: {file}: ")
    assert line.endswith(f"; {DAMAGED}")
    assert head_revision() not in line
