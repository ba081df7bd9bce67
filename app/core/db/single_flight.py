"""One computation for all callers that ask for the same thing at the same time."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs work once per key, in a task of its own; callers that come while it runs share its result or error."""

    def __init__(self) -> None:
        self._running: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Join the work under this key, or start it."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(work(), name=f"single flight {key}")
            self._running[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def runs(self, key: Hashable) -> bool:
        """Whether work runs under this key, so that the next caller would join it."""
        return key in self._running

    def _forget(self, key: Hashable, task: asyncio.Task[T]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # every caller may have left; the error was logged where it was raised

    async def close(self) -> None:
        """Cancel all work and wait until it has ended."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
