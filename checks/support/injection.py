"""Exceptions raised where a driver or a source is called: all kinds, at random or at one call."""

import asyncio
import random
import ssl
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import aiomysql
import aiosqlite
import asyncpg
import httpx
import pytest
from asyncpg.prepared_stmt import PreparedStatement


class Unheard(Exception):  # of a library that nobody thought of
    pass


_KINDS: Final[tuple[type[Exception], ...]] = (
    *(OSError, ConnectionResetError, BrokenPipeError, TimeoutError, EOFError, struct.error, ssl.SSLError),
    *(AttributeError, RuntimeError, IndexError, KeyError, TypeError, ValueError, AssertionError, MemoryError),
    *(RecursionError, ZeroDivisionError, NotImplementedError, asyncio.InvalidStateError, StopAsyncIteration),
    *(UnicodeError, Unheard),
)
UNFORESEEN: Final[dict[str, Callable[[], Exception]]] = {
    **{kind.__name__: partial(kind, "on purpose") for kind in _KINDS},
    "IncompleteReadError": lambda: asyncio.IncompleteReadError(b"", 4),
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "on purpose"),
    "ExceptionGroup": lambda: ExceptionGroup("on purpose", [ValueError()]),
}
"""By name. Without OverflowError and UnicodeEncodeError, which drivers raise for values that they can't send."""


class InjectedFault:
    """Decides at each call whether it fails, when, and how."""

    def __init__(
        self, *, fails: Callable[[int], bool], make: Callable[[], BaseException], after: Callable[[int], bool] = bool
    ) -> None:
        self.fails = fails
        """Gets the number of the call, from 0."""
        self.make = make
        self.after = after
        """Whether the call is made before it fails; gets its number too."""
        self.calls = 0

    async def around(self, call: Callable[[], Awaitable[Any]], *, is_made: bool | None = None) -> Any:
        """Make a call that may fail; ``is_made`` says whether it is made before it fails, instead of chance."""
        number, self.calls = self.calls, self.calls + 1
        if not self.fails(number):
            return await call()
        if self.after(number) if is_made is None else is_made:
            await call()
        raise self.make()


@contextmanager
def failing_driver(fault: InjectedFault) -> Iterator[None]:
    """Let calls of every driver fail: connecting, sending, reading, committing, closing."""

    def patched(name: str, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **options: Any) -> Any:
            # A connection that is open and not handed over, or not closed, would leak by our own doing.
            is_closing = name == "_execute" and getattr(arguments[1], "__name__", "") == "close"
            is_opening, is_closing = name in ("_open_connection", "connect"), is_closing or name == "close"
            is_made = False if is_opening else True if is_closing else None
            return await fault.around(lambda: original(*arguments, **options), is_made=is_made)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for driver, names in (
            (aiosqlite.Connection, ("_execute", "_connect")),
            (aiomysql.Connection, ("_execute_command", "_read_packet")),
            (aiomysql.connection, ("_open_connection",)),
            (asyncpg.Connection, ("execute", "prepare", "close")),
            (PreparedStatement, ("fetch",)),
            (asyncpg, ("connect",)),
        ):
            for name in names:
                patch.setattr(driver, name, patched(name, getattr(driver, name)))
        yield


class FailingTransport(httpx.AsyncBaseTransport):
    """Asks sources over the network, or fails."""

    def __init__(self, fault: InjectedFault) -> None:
        self._fault = fault
        self._network = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async def answer() -> httpx.Response:
            return await self._network.handle_async_request(request)

        response: httpx.Response = await self._fault.around(answer)
        return response

    async def aclose(self) -> None:
        await self._network.aclose()


@dataclass
class RandomFaults:
    """Seeded faults of every kind, up to a total number."""

    total: int
    chance: random.Random
    kinds: Counter[str] = field(default_factory=Counter)

    def fault(self, share: float) -> InjectedFault:
        """Let this share of the calls fail, half of them after they were made."""
        return InjectedFault(
            fails=lambda _: not self.is_over and self.chance.random() < share,
            make=self._make,
            after=lambda _: self.chance.random() < 0.5,
        )

    def _make(self) -> Exception:
        name = self.chance.choice(list(UNFORESEEN))
        self.kinds[name] += 1
        return UNFORESEEN[name]()

    @property
    def is_over(self) -> bool:
        return self.kinds.total() >= self.total
