"""Times the parts of a refresh by putting a clock around the functions it calls.

Runs as a separate process with the environment and the core of a service; prints JSON.
"""

import asyncio
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any
from unittest.mock import patch

from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.snapshots import Snapshots
from app.main import app
from app.refresh import crud as refresh
from app.refresh import store
from benchmarks.base.in_process import ask
from benchmarks.refresh.refresh import PAUSE, REFRESH, REST

# A part inside another one counts for the outer one: taking the lease includes a commit.
_inside: ContextVar[bool] = ContextVar("inside", default=False)

PARTS: tuple[tuple[Any, str, tuple[str, ...]], ...] = (
    (refresh, "acquire", ("take the lease",)),
    (Snapshots, "newest", ("see whether the known countries are current",)),
    (refresh, "lock_summary", ("transaction: lock the summary",)),
    (refresh, "fetch_sources", ("fetch and understand both sources",)),
    (refresh, "build_rows", ("match, estimate, prepare rows", "transaction: the same again")),
    (refresh, "draw", ("draw the picture", "transaction: take the prepared picture")),
    (refresh, "release_in", ("transaction: fence",)),
    (refresh, "build_result", ("transaction: report",)),
    (store, "upsert", ("transaction: write countries",)),
    (store, "change_summary", ("transaction: write summary and picture",)),
    (store, "record_history", ("transaction: write history",)),
    (store, "record_quotes", ("transaction: write rates",)),
    (AsyncSession, "commit", ("transaction: commit",)),
)
"""Owner and name of each function, and the purpose of its first, second ... call in a refresh."""


async def time_parts(times: int) -> dict[str, list[float]]:
    """Refresh this number of times.

    Returns:
        Seconds of each part, ordered by their end, one value per refresh.
    """
    timed: dict[str, list[float]] = {}
    async with app.router.lifespan_context(app) as given:
        state = dict(given or {})
        await ask(app, state, REFRESH, method="POST")  # connects and compiles the statements
        for _ in range(times):
            with _clocks() as seconds:
                whole = await ask(app, state, REFRESH, method="POST")
                seconds[REST] = whole - sum(seconds.values())
            for name, value in seconds.items():
                timed.setdefault(name, []).append(value)
            await asyncio.sleep(PAUSE)
    return timed


@contextmanager
def _clocks() -> Iterator[dict[str, float]]:
    """Time every part for the length of the block."""
    seconds: dict[str, float] = {}
    with ExitStack() as stack:
        for owner, name, purposes in PARTS:
            clocked = _clocked(getattr(owner, name), purposes, seconds)
            stack.enter_context(patch.object(owner, name, clocked))
        yield seconds


def _clocked(function: Callable[..., Any], purposes: tuple[str, ...], seconds: dict[str, float]) -> Callable[..., Any]:
    left = list(purposes)

    @contextmanager
    def clock() -> Iterator[None]:
        if _inside.get():
            yield
            return
        purpose = left.pop(0) if len(left) > 1 else left[0]
        token, started = _inside.set(True), time.perf_counter()
        try:
            yield
        finally:
            _inside.reset(token)
            seconds[purpose] = seconds.get(purpose, 0) + time.perf_counter() - started

    if not inspect.iscoroutinefunction(function):

        @wraps(function)
        def plain(*arguments: Any, **options: Any) -> Any:
            with clock():
                return function(*arguments, **options)

        return plain

    @wraps(function)
    async def awaited(*arguments: Any, **options: Any) -> Any:
        with clock():
            return await function(*arguments, **options)

    return awaited


if __name__ == "__main__":
    print(json.dumps(asyncio.run(time_parts(int(sys.argv[1])))))
