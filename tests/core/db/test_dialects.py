"""Dialects: what each makes of an error, and that nothing else asks which engine it has."""

import ast
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql.converters import escape_string
from sqlalchemy.exc import DBAPIError, IntegrityError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core.config.database_url import normalize_database_url
from app.core.db import faults
from app.core.db.dialects import dialect_for, mysql, postgresql, sqlite
from app.core.db.faults import Fault

APP = Path(__file__).resolve().parents[3] / "app"
MYSQL = {
    Fault.AGAIN: [1213, 1205, 1020, 8002, 9007],
    Fault.LOST: [1047, 1180, 1290, 1836, 2003, 2006, 2013, 9005],
    Fault.BUSY: [1040, 1203],
    Fault.NO_SCHEMA: [1054, 1146],
    Fault.OUTAGE: [1264, 1406, 1045],
}


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        *((OperationalError("COMMIT", None, Exception(number)), fault) for fault in MYSQL for number in MYSQL[fault]),
        (IntegrityError("INSERT", None, Exception(1062, "Duplicate entry")), Fault.OURS),
        (ProgrammingError("SELEC", None, Exception(1064, "error in your SQL syntax")), Fault.OURS),
        (InternalError("connect", None, Exception("Packet sequence number wrong - got 0 expected 1")), Fault.AGAIN),
        (DBAPIError("SELECT", None, Exception(), connection_invalidated=True), Fault.LOST),
        (LookupError(1213), Fault.OURS),
    ],
)
def test_mysql_faults_are_told_apart(error, fault):
    assert mysql.fault(error) is fault


POSTGRESQL = {
    Fault.AGAIN: ["40001", "40P01", "55P03"],
    Fault.LOST: ["08000", "08003", "08006", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04", "25006"],
    Fault.BUSY: ["53300"],
    Fault.NO_SCHEMA: ["42P01", "42703"],
    Fault.OUTAGE: ["25P02", "28000", "28P01", "3D000", "42501", "53100", "54000", "57014", "58030", "XX002"],
    Fault.OURS: ["21000", "22001", "22003", "23505", "42601"],
}


@pytest.mark.parametrize(("state", "fault"), [(state, fault) for fault in POSTGRESQL for state in POSTGRESQL[fault]])
def test_postgresql_faults_are_told_apart_by_sqlstate(state, fault):
    cause: Any = Exception("in any words")
    cause.sqlstate = state

    assert postgresql.fault(DBAPIError("SELECT", None, cause)) is fault


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        (asyncpg.InvalidCachedStatementError("cached plan must not change result type"), Fault.AGAIN),
        (asyncpg.DataError("invalid input for query argument $1"), Fault.OURS),
        (asyncpg.InterfaceError("cannot perform operation"), Fault.OUTAGE),
    ],
)
def test_postgresql_faults_without_sqlstate_are_told_apart_by_class(cause, fault):
    error = Exception("in any words")
    error.__cause__ = cause

    assert postgresql.fault(DBAPIError("SELECT", None, error)) is fault
    assert postgresql.fault(DBAPIError("SELECT", None, error, connection_invalidated=True)) is Fault.LOST


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.text(st.sampled_from("\0\n\r\x1a\\'\"%`\x08aé👋")))
def test_text_is_escaped_as_the_driver_escapes_it(text):
    escape: Any = mysql._Connection.escape_string

    assert escape(SimpleNamespace(server_status=0), text) == escape_string(text)


@pytest.mark.parametrize(
    ("cause", "may_come_up"),
    [
        *((OperationalError("connect", None, Exception(number)), True) for number in (1040, 1053, 2003, 2013)),
        *((OperationalError("connect", None, Exception(number)), False) for number in (1044, 1045, 1049, 1142, 2026)),
        (TimeoutError(), True),
        (PoolTimeout(), True),
        (None, False),
    ],
)
def test_start_waits_only_for_a_server_that_may_come_up(cause, may_come_up):
    assert faults.may_come_up(cause, mysql.fault) is may_come_up


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("SELECT 1 FROM nowhere", Fault.NO_SCHEMA),
        ("SELECT other FROM one", Fault.NO_SCHEMA),
        ("INSERT INTO one (other) VALUES (1)", Fault.NO_SCHEMA),
        ("INSERT INTO one (id) VALUES (2)", Fault.AGAIN),
        ("ATTACH '/nowhere/x.db' AS other", Fault.OUTAGE),
    ],
)
def test_sqlite_faults_are_told_apart(tmp_path, sql, fault):
    with closing(sqlite3.connect(tmp_path / "x.db")) as writer, closing(sqlite3.connect(tmp_path / "x.db")) as other:
        writer.execute("CREATE TABLE one (id INTEGER PRIMARY KEY)")
        writer.commit()
        writer.execute("INSERT INTO one VALUES (1)")
        other.execute("PRAGMA busy_timeout = 0")
        with pytest.raises(sqlite3.OperationalError) as error:
            other.execute(sql)

    assert sqlite.fault(OperationalError(sql, None, error.value)) is fault


def test_every_host_of_a_database_is_named():
    places = {
        "postgresql://u:p@one:5433,two/name": "one:5433,two:5432/name",
        "postgresql://u@/name?host=/run/postgresql": "/run/postgresql:5432/name",
        "mysql://u:p@one/name": "one:3306/name",
        "sqlite:///some/file.db": "some/file.db",
    }
    for url, place in places.items():
        normalized = normalize_database_url(url)
        assert dialect_for(normalized).place(normalized) == place


def engine_names(path: Path) -> Iterator[str]:
    """Where a file looks at which engine it has, or uses a function that only some engines have."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value="sqlite" | "mysql" | "mariadb" | "postgresql"):
                yield f"{path.relative_to(APP)}:{node.lineno} names an engine"
            case ast.Attribute(attr="drivername") | ast.Attribute(attr="name", value=ast.Attribute(attr="dialect")):
                yield f"{path.relative_to(APP)}:{node.lineno} asks for the engine"
            case ast.Attribute(attr="instr" | "strpos" | "group_concat" | "array_agg", value=ast.Name(id="func")):
                yield f"{path.relative_to(APP)}:{node.lineno} uses a function of some engines"
            case ast.ImportFrom(module=str(module)) if module.startswith("app.core.db.dialects."):
                yield f"{path.relative_to(APP)}:{node.lineno} imports a dialect"


def test_only_the_modules_of_engines_and_the_check_of_their_urls_know_an_engine():
    # Types have one variant for each engine.
    knowing = {*(APP / "core/config").glob("*_url.py"), APP / "core/db/types.py", *(APP / "core/db/dialects").glob("*")}

    assert [found for path in sorted(set(APP.rglob("*.py")) - knowing) for found in engine_names(path)] == []
    assert list(engine_names(APP / "core/db/dialects/mysql.py"))
