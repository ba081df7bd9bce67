"""Figures of the connection pool: connections, and units of work that want one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool


class PoolFigures(BaseModel):
    """The connections of one process to its database, at one moment."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"size": 10, "in_use": 2, "waiting": 0, "overflow": 0, "max_overflow": 10}]}
    )

    size: int = Field(description="Database connections that this process keeps open (DB_POOL_SIZE).")
    in_use: int = Field(description="Database connections in use, or being opened.")
    waiting: int = Field(description="Units of work that wait for a database connection.")
    overflow: int = Field(description="Database connections beyond the pool's size; each is closed after its use.")
    max_overflow: int = Field(description="Maximum number of connections beyond the pool's size (DB_MAX_OVERFLOW).")


class Pool:
    """The pool of an engine, and the units of work that want a connection of it."""

    def __init__(self, engine: AsyncEngine, *, max_overflow: int) -> None:
        self._engine = engine
        self._max_overflow = max_overflow
        self.units = 0
        """Units of work that have a connection, or want one."""

    @contextmanager
    def unit_of_work(self) -> Iterator[None]:
        """Count the block as one unit of work, which never wants more than one connection."""
        self.units += 1
        try:
            yield
        finally:
            self.units -= 1

    @property
    def limit(self) -> int:
        """Maximum number of connections."""
        return cast(QueuePool, self._engine.pool).size() + self._max_overflow

    def figures(self) -> PoolFigures:
        """The current figures; the database is not asked."""
        # An engine that is closed gets a new pool, so it is looked up each time.
        pool = cast(QueuePool, self._engine.pool)
        in_use = pool.checkedout()
        return PoolFigures(
            size=pool.size(),
            in_use=in_use,
            # SQLAlchemy does not count them. Below the limit a unit without a connection has not asked for one yet.
            waiting=max(0, self.units - in_use) if in_use >= self.limit else 0,
            # SQLAlchemy counts from minus the pool's size.
            overflow=max(0, pool.overflow()),
            max_overflow=self._max_overflow,
        )
