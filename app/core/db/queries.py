"""Queries for plain columns, without model objects."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy
from sqlalchemy import CursorResult, Executable, Select
from sqlmodel.ext.asyncio.session import AsyncSession


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
