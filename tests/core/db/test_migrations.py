"""Migrations: forth and back, equal to the models, and safe to start in several processes."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from alembic import command
from app.core.db.migrations import alembic_config, head_revision, is_behind
from app.models import metadata
from tests.conftest import TABLES, has_mysql, make_settings, migrate_in_thread, opened_database

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def empty_url(engine, request, tmp_path):
    """A database without a single table."""
    if engine == "sqlite":
        return f"sqlite:///{tmp_path}/new.db"
    server = request.getfixturevalue("mariadb")
    server.execute("DROP DATABASE IF EXISTS fresh", "CREATE DATABASE fresh")
    return server.url("fresh")


async def look(url: str, what):
    async with opened_database(url) as database, database.engine.connect() as connection:
        return await connection.run_sync(what)


def tables(connection) -> set[str]:
    return set(inspect(connection).get_table_names())


def differences(connection) -> list[object]:
    return list(compare_metadata(MigrationContext.configure(connection), metadata))


def downgrade(url: str) -> None:
    command.downgrade(alembic_config(make_settings(database_url=url)), "base")


async def test_upgrade_makes_what_the_models_describe(empty_url):
    migrate_in_thread(empty_url)

    assert await look(empty_url, differences) == []


async def test_downgrade_and_upgrade_come_back_to_the_same_schema(empty_url):
    migrate_in_thread(empty_url)

    await asyncio.to_thread(downgrade, empty_url)
    left = await look(empty_url, tables)
    migrate_in_thread(empty_url)

    assert left == {"alembic_version", "lease"}
    assert await look(empty_url, tables) == {"alembic_version", *TABLES}
    assert await look(empty_url, differences) == []


async def test_migration_that_was_killed_half_way_can_be_repeated(empty_url):
    """MySQL commits after each DDL statement: the table may be there while the revision is not noted."""
    migrate_in_thread(empty_url)
    config = alembic_config(make_settings(database_url=empty_url))
    for revision in ("0009", "0008", "0007", "0006", "0005", "0004", "0003", "0002", "0001", "base"):
        await asyncio.to_thread(command.stamp, config, revision, purge=True)
        migrate_in_thread(empty_url)

    assert await look(empty_url, differences) == []


@pytest.mark.slow("sqlite")
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
    assert log.count("Running upgrade 0009 -> 0010") == 1
    assert await look(empty_url, differences) == []


@pytest.mark.slow("mariadb")
async def test_alembic_command_works_from_the_checkout(empty_url):
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": empty_url}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic", "upgrade", "head"), cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    _, errors = await process.communicate()

    assert process.returncode == 0, errors.decode()
    assert await look(empty_url, differences) == []


@pytest.mark.skipif(not has_mysql(), reason="MariaDB is not installed")
async def test_tables_compare_text_byte_by_byte_whatever_the_server_defaults_to(mariadb, mysql_url):
    collations = mariadb.execute(
        "SELECT DISTINCT collation_name FROM information_schema.columns"
        " WHERE table_schema = 'service' AND collation_name IS NOT NULL AND table_name <> 'alembic_version'"
    )
    types = dict(
        mariadb.execute(
            "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = 'service'"
            " AND column_name IN ('image', 'report', 'last_refreshed_at', 'estimated_gdp')"
        )
    )

    assert collations == [("utf8mb4_bin",)]
    assert types == {
        "image": "mediumblob",
        "report": "mediumtext",
        "last_refreshed_at": "datetime(6)",
        "estimated_gdp": "double",
    }


def test_service_knows_its_newest_revision():
    assert head_revision() == ScriptDirectory.from_config(alembic_config()).get_current_head() == "0018"


def test_database_is_behind_without_a_known_migration_and_not_when_a_newer_service_went_further():
    assert [is_behind(revision) for revision in (None, "0017", "0018", "9999")] == [True, True, False, False]
