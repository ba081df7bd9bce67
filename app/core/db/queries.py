"""Queries for plain columns, without model objects."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import CursorResult, Executable, Select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.dialects import dialect_for


def select_columns(*columns: Any) -> Select[*tuple[Any, ...]]:
    """Build a SELECT of any number of columns; sqlmodel's ``select`` is typed for four at most."""
    return sqlalchemy.select(*columns)


async def execute(
    session: AsyncSession, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> CursorResult[*tuple[Any, ...]]:
    """Run a statement in the session's transaction and return its buffered rows.

    It goes to the connection directly. ``session.exec()`` would flush first and look for model objects in each row,
    which takes longer than a small query.
    """
    return await (await session.connection()).execute(statement, parameters)


async def read_by_day(
    session: AsyncSession, query: Select[*tuple[Any, ...]], parameters: Mapping[str, Any]
) -> dict[str, list[tuple[str, str]]]:
    """Read a day and a number of each row, both as text, by group and in the order of the days.

    The query selects (group, day, number), some ten thousand rows at most, because MySQL limits the length of a text.
    Build it once: the form that is sent is cached by identity.
    """
    connection = await session.connection()
    return await dialect_for(connection.dialect).read_by_day(connection, query, parameters)
