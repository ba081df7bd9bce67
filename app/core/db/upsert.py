"""Bulk writes that replace rows whose key is stored."""

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Dialect, Select, Table
from sqlalchemy.types import TypeEngine
from sqlmodel import SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.dialects import ROWS_AT_ONCE, dialect_for


async def upsert(
    session: AsyncSession,
    model: type[SQLModel],
    rows: Sequence[Mapping[str, Any]],
    *,
    key: str = "",
    least: str = "",
    greatest: str = "",
) -> None:
    """Write rows in bulk; a row whose key is stored replaces that row, or is an error if no key is named.

    They travel as one parameter or one for each column where the server can read it, else through the driver's
    executemany, which sends them to MySQL as one multi-row statement. Values are converted here, column by column:
    SQLAlchemy does it row by row, which takes longer than the database needs to store them.

    Args:
        session: An open transaction; nothing is committed here.
        model: The table.
        rows: Column names to values, the same columns in each. No key is in two rows; without one for a numbered table,
            the database numbers the rows.
        key: The column that identifies a row, or several separated by commas; empty to only insert.
        least: A column that keeps the smaller of the stored and the new value.
        greatest: A column that keeps the larger one.
    """
    if not rows:
        return
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    connection = await session.connection()
    insert = _insert(table, tuple(rows[0]), key, least, greatest, connection.dialect)
    columns: dict[str, list[Any]] = {}
    for name in rows[0]:
        columns[name] = _for_driver([row[name] for row in rows], table.columns[name].type, connection.dialect)
        if len(rows) > ROWS_AT_ONCE:
            await asyncio.sleep(0)
    for sql, parameters in await dialect_for(connection.dialect).bulk_inserts(connection, insert, columns):
        await connection.exec_driver_sql(sql, parameters)


async def upsert_from(session: AsyncSession, model: type[SQLModel], query: Select[Any], *, key: str) -> None:
    """Write the rows of a query like ``upsert()``, within the database; its columns are called like the table's."""
    table: Table = model.__table__  # type: ignore[attr-defined]  # SQLModel does not declare it
    connection = await session.connection()
    names = tuple(column.name for column in query.selected_columns)
    await connection.execute(_insert(table, names, key, "", "", connection.dialect).from_select(names, query))


@lru_cache(maxsize=64)
def _insert(table: Table, names: tuple[str, ...], key: str, least: str, greatest: str, dialect: Dialect) -> Any:
    if not key:
        return table.insert()
    keys = key.split(",")
    columns = [name for name in names if name not in keys] or keys[:1]  # something has to be updated
    return dialect_for(dialect).upsert_statement(table, columns, keys, least=least, greatest=greatest)


def _for_driver(values: list[Any], kind: TypeEngine[Any], dialect: Dialect) -> list[Any]:
    """The values of one column as the driver takes them; the same object is converted once."""
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    if convert is None:
        return values
    converted = {key: convert(value) for key, value in {id(value): value for value in values}.items()}
    return [converted[id(value)] for value in values]
