"""Migrations: forth and back, equal to the models, and safe to start in several processes."""

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from alembic import command
from app.core.db.lease import acquire
from app.core.db.migrations import MigrationFailed, alembic_config, find_revision, head_revision, is_too_old, suits
from app.core.telemetry.log import configure_logging
from app.countries.models import Country
from app.models import metadata
from tests.conftest import TABLES, make_settings, migrate_in_thread, opened_database
from tests.support.engines import EVERY_ENGINE, has

pytestmark = EVERY_ENGINE
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def empty_url(engine, request, tmp_path):
    """A database without a single table."""
    if engine == "sqlite":
        return f"sqlite:///{tmp_path}/new.db"
    if engine == "postgresql":
        postgresql = request.getfixturevalue("postgresql")
        postgresql.create("fresh")
        return postgresql.url("fresh")
    server = request.getfixturevalue("mariadb")
    server.execute("DROP DATABASE IF EXISTS fresh", "CREATE DATABASE fresh")
    return server.url("fresh")


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(make_settings(log_level="INFO"), stream)
    return stream


async def look(url: str, what):
    async with opened_database(url) as database, database.engine.connect() as connection:
        found = await connection.run_sync(what)
        await connection.commit()
        return found


def tables(connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def differences(connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


async def test_upgrade_makes_what_the_models_describe_also_after_a_downgrade(empty_url):
    migrate_in_thread(empty_url)
    assert await look(empty_url, differences) == []

    await asyncio.to_thread(command.downgrade, alembic_config(make_settings(database_url=empty_url)), "base")
    left = await look(empty_url, tables)
    migrate_in_thread(empty_url)

    assert left == {"alembic_version", "lease"}
    assert await look(empty_url, tables) == {"alembic_version", *TABLES}
    assert await look(empty_url, differences) == []


async def test_first_revision_that_was_killed_half_way_can_be_run_again(empty_url):
    """MySQL commits after each DDL statement: tables may be there while the revision is not noted."""
    migrate_in_thread(empty_url)
    await look(empty_url, metadata.tables["sms_documents"].drop)
    for table in ("country", "exchange_rate"):
        await look(empty_url, next(iter(metadata.tables[table].indexes)).drop)
    await asyncio.to_thread(command.stamp, alembic_config(make_settings(database_url=empty_url)), "base", purge=True)

    migrate_in_thread(empty_url)

    assert await look(empty_url, differences) == []


HALF_DONE = """
from sqlalchemy import Column, String
from app.core.db.lease import acquire
from app.core.db.migrations import add_column, create_index

revision = "9001"
down_revision = "HEAD"


def upgrade():
    add_column("country", Column("motto", String(100), nullable=True))
    create_index("ix_country_motto", "country", ["motto"])
    1 / 1
    add_column("country", Column("anthem", String(100), nullable=True))
"""


async def test_revision_that_stopped_half_way_can_be_run_again(empty_url, tmp_path):
    def run(text: str) -> None:
        (tmp_path / "9001_anthem.py").write_text(text.replace("HEAD", head_revision()))
        command.upgrade(config, "head")

    def added(connection) -> list[str]:
        found = inspect(connection)
        columns = {column["name"] for column in found.get_columns("country")} - set(Country.model_fields)
        return sorted(columns) + [index["name"] for index in found.get_indexes("country") if "motto" in index["name"]]

    migrate_in_thread(empty_url)
    config = alembic_config(make_settings(database_url=empty_url))
    config.set_main_option("version_locations", f"{ROOT}/alembic/versions{os.pathsep}{tmp_path}")
    with pytest.raises(ZeroDivisionError):
        await asyncio.to_thread(run, HALF_DONE.replace("1 / 1", "1 / 0"))
    half = await look(empty_url, added)

    await asyncio.to_thread(run, HALF_DONE)

    assert half == (["motto", "ix_country_motto"] if empty_url.startswith("mysql") else [])
    assert await look(empty_url, added) == ["anthem", "motto", "ix_country_motto"]


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("0017", "at revision 0017, too old for this version; run the migrations of an earlier version"),
        ("0100", "at revision 0100, newer than this version of the service .*; run the newer version"),
        ("a0b1c2d3e4f5", "at revision a0b1c2d3e4f5, which is not of this service; correct DATABASE_URL"),
    ],
)
async def test_database_of_an_unknown_revision_is_refused_and_left_alone(empty_url, revision, message):
    migrate_in_thread(empty_url)
    await set_revision(empty_url, revision)

    with pytest.raises(MigrationFailed, match=message):
        migrate_in_thread(empty_url)

    assert await look(empty_url, find_revision) == revision


async def set_revision(url: str, revision: str) -> None:
    statement = text(f"UPDATE alembic_version SET version_num = '{revision}'")
    await look(url, lambda connection: connection.execute(statement))


async def test_database_that_a_newer_version_added_to_is_left_alone_with_a_warning(empty_url, log):
    """So that a process of the old version can start again in the middle of a rolling upgrade."""
    migrate_in_thread(empty_url)
    await set_revision(empty_url, "0099")

    migrate_in_thread(empty_url)

    assert await look(empty_url, find_revision) == "0099"
    message = f"The database is at revision 0099, newer than this version of the service ({head_revision()})"
    assert [line.split(" | ")[-1] for line in log.getvalue().splitlines() if "WARNING" in line] == [message]


async def test_lease_of_a_day_ahead_does_not_hold_up_a_migration(empty_url):
    """It was taken before the clock was put back; its holder may be gone."""
    migrate_in_thread(empty_url)
    await asyncio.to_thread(command.stamp, alembic_config(make_settings(database_url=empty_url)), "base", purge=True)
    async with opened_database(empty_url) as database:
        assert await acquire(database, "migrations", seconds=86_400)

    migrate_in_thread(empty_url)

    assert await look(empty_url, find_revision) == head_revision()


@pytest.mark.slow("sqlite", "postgresql")
async def test_four_processes_that_migrate_at_once_all_succeed(empty_url, tmp_path):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": empty_url}
    started = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "app", "migrate"), cwd=tmp_path, env=environment, stderr=subprocess.PIPE
        )
        for _ in range(4)
    ]
    results = [(await process.communicate(), process.returncode) for process in started]

    assert [code for _, code in results] == [0] * 4, results
    log = b"".join(err for (_, err), _ in results).decode()
    assert log.count(f"-> {head_revision()}, ") == 1
    assert await look(empty_url, differences) == []


@pytest.mark.slow("mariadb", "postgresql")
async def test_alembic_command_works_from_the_checkout(empty_url):
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": empty_url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic", "upgrade", "head"), cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()

    assert process.returncode == 0, errors.decode()
    assert await look(empty_url, differences) == []


@pytest.mark.skipif(not has("mariadb"), reason="MariaDB is not installed")
async def test_tables_compare_text_byte_by_byte_whatever_the_server_defaults_to(mariadb, mysql_url):
    collations = mariadb.execute(
        "SELECT DISTINCT collation_name FROM information_schema.columns"
        " WHERE table_schema = 'service' AND collation_name IS NOT NULL AND table_name <> 'alembic_version'"
    )
    types = mariadb.execute(
        "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = 'service'"
        " AND column_name IN ('image', 'report', 'last_refreshed_at', 'estimated_gdp')"
    )

    assert collations == [("utf8mb4_bin",)]
    expected = {"image": "mediumblob", "report": "mediumtext", "last_refreshed_at": "datetime(6)"}
    assert dict(types) == {**expected, "estimated_gdp": "double"}


@pytest.mark.parametrize(
    ("url", "column"),
    [
        ("postgresql://u@h/db", 'name VARCHAR(200) COLLATE "C" NOT NULL'),
        ("postgresql://u@h/db", 'scopes VARCHAR(64) COLLATE "C" DEFAULT'),
        ("mysql://u@h/db", "COLLATE utf8mb4_bin"),
        ("sqlite:///x.db", "name VARCHAR(200) NOT NULL"),
    ],
)
async def test_printed_sql_is_that_of_a_migration(url, column):
    config = alembic_config(make_settings(database_url=url))
    config.output_buffer = io.StringIO()

    await asyncio.to_thread(command.upgrade, config, "head", sql=True)

    assert column in config.output_buffer.getvalue()


def test_service_knows_its_revisions_as_alembic_does():
    scripts = ScriptDirectory.from_config(alembic_config())

    assert head_revision() == scripts.get_current_head()
    first = scripts.get_base()
    assert [is_too_old(revision) for revision in (None, "0001", first, "9999")] == [False, True, False, False]
    revisions = (None, "0001", head_revision(), "0099", "0100", "a0b1c2d3e4f5")
    assert [suits(revision) for revision in revisions] == [False, False, True, True, False, False]
