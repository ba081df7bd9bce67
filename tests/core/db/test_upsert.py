"""Bulk upserts: every value is stored exactly, and refused alike, whichever way the rows travel."""

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, Date, Double, LargeBinary, MetaData, String, Table, delete, select
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlmodel.sql.sqltypes import AutoString

from app.core.db import json_rows
from app.core.db.database import Database
from app.core.db.dialects.mysql import upsert_statement
from app.core.db.queries import execute
from app.core.db.types import LongText, UTCDateTime
from app.core.db.upsert import upsert
from app.core.errors import DatabaseUnavailable
from tests.conftest import opened_database
from tests.support.engines import EVERY_ENGINE
from tests.support.statements import recorded

pytestmark = EVERY_ENGINE

# Not the metadata of the service: this table is none of its own.
TABLE = Table(
    "bulk",
    MetaData(),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("long", LongText),
    Column("short", String(10)),
    Column("auto", AutoString(10)),
    Column("double", Double),
    Column("big", BigInteger),
    Column("flag", Boolean),
    Column("day", Date),
    Column("when", UTCDateTime),
    Column("needed", String(10), nullable=False),
    Column("bytes", LargeBinary),
    mysql_charset="utf8mb4",
    mysql_collate="utf8mb4_bin",
)
MODEL: Any = SimpleNamespace(__table__=TABLE)
DOUBLES = (5e-324, 2.2250738585072011e-308, 1.7976931348623157e308, 0.1, 1 / 3, 1e23, 9007199254740993.0, -1e-7, -0.0)
TEXTS = ("", "null", "NULL", " a ", "\x00\x01\x1a\x7f", "\\'\"`%s %(x)s :given", "👋🏽", "\r\n\u2028", "1e5", "[1]")
TEXT = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]))
TIMES = st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "long": TEXT,
    "short": TEXT.map(lambda text: text[:10]),
    "auto": TEXT.map(lambda text: text[:10]),
    "double": st.sampled_from(DOUBLES) | st.floats(allow_nan=False, allow_infinity=False),
    "big": st.integers(-(2**63), 2**63 - 1) | st.sampled_from((2**53 + 1, 2**63 - 1, -(2**63))),
    "flag": st.booleans(),
    "day": st.dates(date(1000, 1, 1)),
    "when": TIMES,
}
COLUMNS = {name: st.none() | some for name, some in VALUES.items()} | {"needed": VALUES["short"]}
# Rows with bytes go through executemany.
ROWS = st.lists(st.fixed_dictionaries(COLUMNS), min_size=2, max_size=8) | st.lists(
    st.fixed_dictionaries(COLUMNS | {"bytes": st.none() | st.binary()}), min_size=2, max_size=8
)


class Named(StrEnum):
    A = "named"


ROW = {"id": 1, "long": "a", "short": "a", "double": 1.5, "big": 1, "needed": "a"}


@asynccontextmanager
async def opened_table(url: str) -> AsyncIterator[Database]:
    """A database with the table, which is dropped at the end."""
    async with opened_database(url) as opened:
        async with opened.writing() as connection:
            await connection.run_sync(TABLE.metadata.create_all)
        yield opened
        async with opened.writing() as connection:
            await connection.run_sync(TABLE.metadata.drop_all)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened_table(database_url) as opened:
        yield opened


async def store(database: Database, rows: list[dict[str, Any]], *, at_most: int | None = None) -> None:
    """Write rows; ``at_most`` bytes of JSON in a statement, 0 for none, None for what the server takes."""

    async def work(session: Any) -> None:
        info = (await session.connection()).info
        longest = info.get(json_rows.LONGEST)
        info[json_rows.LONGEST] = longest if at_most is None else at_most
        try:
            await upsert(session, MODEL, rows, key="id")
        finally:
            info[json_rows.LONGEST] = longest

    await database.transaction(work)


async def stored(database: Database) -> list[dict[str, Any]]:
    async with database.reading() as session:
        return [dict(row) for row in (await execute(session, select(TABLE).order_by(TABLE.c.id))).mappings()]


def bits(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Doubles as their bytes; no engine stores the sign of a zero."""
    return [{k: struct.pack("d", v + 0.0) if isinstance(v, float) else v for k, v in row.items()} for row in rows]


@settings(derandomize=True, deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
@example(rows=[{**dict.fromkeys(VALUES), "double": double, "needed": ""} for double in DOUBLES])
@example(rows=[{**dict.fromkeys(VALUES), "long": text, "needed": ""} for text in TEXTS])
async def test_every_value_is_stored_to_the_last_bit_and_replaced(database, rows):
    rows = [{"id": number, **row} for number, row in enumerate(rows)]
    others = [{**row, "id": number} for number, row in enumerate(reversed(rows))]

    for written in (rows, others):
        await store(database, written)

        found = await stored(database)
        has_nul = database.engine.dialect.name != "postgresql"  # which stores none; it becomes a replacement character
        expected = [
            {k: v.replace("\0", "\ufffd") if isinstance(v, str) and not has_nul else v for k, v in row.items()}
            for row in written
        ]
        assert bits(found) == bits([{"bytes": None, **row} for row in expected])
    async with database.writing() as connection:
        await connection.execute(delete(TABLE))


async def test_bytes_are_stored_as_they_are(database):
    rows = [{**ROW, "id": number, "bytes": bytes(range(256)) * number} for number in range(3)]

    await store(database, rows)

    assert [row["bytes"] for row in await stored(database)] == [row["bytes"] for row in rows]


REFUSED: list[tuple[dict[str, Any], int | None]] = [
    ({"short": "x" * 11}, 1406),
    ({"short": "👋" * 11}, 1406),
    ({"needed": None}, 1048),
    ({"big": 2**63}, 1264),
    ({"big": -(2**63) - 1}, 1264),
    ({"big": "many"}, 1366),
    ({"double": float("inf")}, None),
    ({"double": float("nan")}, None),
    ({"long": "\ud800"}, None),
    ({"long": "\udc80"}, None),
    ({"long": b"\x80"}, None),
    ({"when": datetime(2026, 11, 21)}, None),  # without a zone
]
"""Values, and the server's number of the error; None where it depends on the way."""


@pytest.mark.engines("mariadb")
@pytest.mark.parametrize("at_most", [None, 0])
@pytest.mark.parametrize(("wrong", "number"), REFUSED, ids=str)
async def test_value_that_does_not_fit_is_refused_alike_whichever_way_it_travels(database, wrong, number, at_most):
    rows = [{**ROW, "when": None}, {**ROW, "when": None, "id": 2, **wrong}]

    with pytest.raises((DBAPIError, ValueError, TypeError, DatabaseUnavailable)) as raised:
        await store(database, rows, at_most=at_most)

    error = raised.value
    if number:
        refused: Any = error.__cause__ if isinstance(error, DatabaseUnavailable) else error
        assert refused.orig.args[0] == number
    else:
        assert not isinstance(error, DatabaseUnavailable)
    assert await stored(database) == []


@pytest.mark.engines("mariadb")
@pytest.mark.parametrize("value", [b"a", {"a": 1}, timedelta(1), Decimal("nan"), float("inf")], ids=str)
@pytest.mark.parametrize("name", ["long", "auto"])
async def test_value_that_json_does_not_carry_is_refused_before_anything_is_sent(database, name, value):
    for others in ("a", value):  # the same object in all rows is a parameter of its own
        with recorded(database) as statements, pytest.raises((TypeError, ValueError), match="can't be stored"):
            await store(database, [{**ROW, "auto": "a", name: others}, {**ROW, "id": 2, "auto": "a", name: value}])

        assert statements == []


@pytest.mark.engines("mariadb")
async def test_value_is_written_by_its_own_type_and_with_each_digit_whatever_its_column_says(database):
    given = {
        "a": "a",
        Named.A: "named",
        True: "1",
        2**70: "1180591620717411303424",
        -(2.0**70): "-1.1805916207174113e+21",
        5e-324: "5e-324",
        Decimal("12345678901234567890.01234567890"): "12345678901234567890.01234567890",
        date(2026, 12, 1): "2026-12-01",
        datetime(2026, 12, 1, 0, 0, 0, 1): "2026-12-01 00:00:00.000001",
        time(23, 59, 59, 999999): "23:59:59.999999",
        None: None,
    }

    await store(database, [{"id": number, "long": value, "needed": ""} for number, value in enumerate(given)])

    assert [row["long"] for row in await stored(database)] == list(given.values())


@pytest.mark.engines("mariadb")
async def test_sql_modes_change_nothing(database_url):
    rows = [{**dict.fromkeys(VALUES), "id": number, "long": text, "needed": ""} for number, text in enumerate(TEXTS)]
    modes = "NO_BACKSLASH_ESCAPES,ANSI_QUOTES,PIPES_AS_CONCAT,STRICT_ALL_TABLES"
    async with opened_table(f"{database_url}?sql_mode='{modes}'") as database:
        await store(database, rows)

        assert [row["long"] for row in await stored(database)] == list(TEXTS)


@pytest.mark.engines("mariadb")
@pytest.mark.parametrize("character", ['"', "\\", "'", "\x00", "👋", "a"])
async def test_document_has_the_size_that_the_server_takes_or_one_row(database, character):
    rows = [{"id": number, "long": character * 2_000, "needed": ""} for number in range(999)]
    rows += [{"id": 999, "long": character * 150_000, "needed": ""}]

    with recorded(database) as statements:
        await store(database, rows, at_most=300_000)

    documents = [next(value for value in given if str(value).startswith("[")) for _, given in statements]
    sizes = [len(text.encode()) for text in documents if len(json.loads(text)) > 1]
    assert 200_000 < max(sizes) <= 300_000
    assert [row["long"] for row in await stored(database)] == [row["long"] for row in rows]


@pytest.mark.engines("mariadb")
async def test_server_without_json_table_gets_rows_through_executemany(database_url, monkeypatch):
    monkeypatch.setattr(json_rows, "PROBE", json_rows.PROBE.replace("JSON_TABLE", "NOT_JSON_TABLE"))
    rows = [{**ROW, "id": number} for number in range(3)]
    async with opened_table(database_url) as database:
        with recorded(database) as statements:
            await store(database, rows)

        assert [len(given) for _, given in statements] == [3]
        assert [row["id"] for row in await stored(database)] == [0, 1, 2]


async def test_statement_follows_the_grammar_of_mysql_8_4():
    """No MySQL runs here. Its manual has ``name type PATH path [on_empty] [on_error]`` for a column of JSON_TABLE."""
    dialect = mysql.dialect(paramstyle="format")
    dialect.server_version_info = (8, 4, 0)
    dialect._requires_alias_for_on_duplicate_key = True  # what SQLAlchemy finds out when it connects
    insert = upsert_statement(TABLE, ["long", "when"], ["id"])
    columns: dict[str, list[Any]] = {"id": [1, 2], "long": ["a", None], "when": [None, None]}

    statements = await json_rows.bulk_inserts(insert, columns, dialect, 1000)

    assert [(" ".join(sql.split()), given) for sql, given in statements] == [
        (
            "INSERT INTO bulk (id, `long`, `when`) SELECT c0, c1, %s AS anon_1 FROM JSON_TABLE(%s, '$[*]' COLUMNS ("
            "c0 LONGTEXT CHARACTER SET utf8mb4 PATH '$[0]' ERROR ON ERROR, "
            "c1 LONGTEXT CHARACTER SET utf8mb4 PATH '$[1][0]' ERROR ON ERROR)) AS given "
            "ON DUPLICATE KEY UPDATE `long` = VALUES(`long`), `when` = VALUES(`when`)",
            (None, '[["1",["a"]],["2",[]]]'),
        )
    ]
