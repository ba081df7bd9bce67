"""Ordered chains of sources: the first one with a usable answer wins."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from loguru import logger

from app.core.errors import UpstreamUnavailable

CHAIN_SECONDS: Final = 25.0
"""All sources of one chain together may take this long."""

T = TypeVar("T")


class SourceFailed(Exception):
    """A source gave no usable answer; the next one is asked. The text is shown to clients."""


class SourceRefused(SourceFailed):
    """The source refused our credential; going on silently would hide that from the operator."""


@dataclass(frozen=True)
class Source(Generic[T]):
    """One member of a chain."""

    name: str
    """What reports, errors and the picture call it: a known name, or the host of a URL."""
    read: Callable[[float], Awaitable[T]]
    """Fetch and parse within so many seconds; raises SourceFailed."""
    is_local: bool = False
    """Ships with the service: needs no network and no time."""


def _nobody_notes(_source: str, _result: str) -> None: ...


async def first_usable(
    api: str, chain: Sequence[Source[T]], *, timeout: float, note: Callable[[str, str], None] = _nobody_notes
) -> tuple[str, T]:
    """Ask the sources in order until one gives a usable answer.

    Args:
        api: What errors call the chain, such as "country API".
        chain: The sources, best first.
        timeout: Seconds for one source; the whole chain has CHAIN_SECONDS.
        note: Called with the name of each source that was asked, and ``usable`` or ``failed``.

    Returns:
        The name of the source that answered, and its answer.

    Raises:
        UpstreamUnavailable: None did; the details say what was wrong with each.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CHAIN_SECONDS
    failures = []
    for source in chain:
        seconds = min(timeout, deadline - loop.time())
        try:
            if seconds <= 0 and not source.is_local:
                raise SourceFailed(f"not asked, the chain's {CHAIN_SECONDS:g} s were used up")
            answer = await source.read(seconds)
            note(source.name, "usable")
            return source.name, answer
        except SourceFailed as failure:
            logger.warning("No data from {} ({}: {})", api, source.name, failure)
            note(source.name, "failed")
            failures.append(f"{source.name}: {failure}")
            if isinstance(failure, SourceRefused):
                break
    raise UpstreamUnavailable(api, "; ".join(failures) or "no source is configured")
