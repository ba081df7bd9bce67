"""The time that one request may spend on database work."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_SPENT: ContextVar[list[float] | None] = ContextVar("seconds of database work, by unit, of one request", default=None)


@contextmanager
def one_request() -> Iterator[None]:
    """Let all units of work in the block share the bound of one, so that their number does not prolong an answer."""
    token = _SPENT.set([])
    try:
        yield
    finally:
        _SPENT.reset(token)


def leave_request() -> None:
    """Let this task have its own time: what it does is for many requests, or follows the beginning of an answer."""
    _SPENT.set(None)
