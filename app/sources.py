"""Ordered chains of sources: the first one with a usable answer wins."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit, urlunsplit

from loguru import logger

from app.errors import UpstreamUnavailable

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


def parse_chain(words: tuple[str, ...], *, known: tuple[str, ...]) -> tuple[str, ...]:
    """Check the entries of a chain.

    Raises:
        ValueError: The chain is empty, or an entry is neither a known name nor an http(s) URL.
    """
    if not words:
        raise ValueError("names no source")
    for position, word in enumerate(words, start=1):
        if word not in known and not is_http_url(word):
            # What is not a plain word may be a mistyped URL with a key in it.
            shown = repr(word) if re.fullmatch(r"[\w.-]+", word) else f"entry {position}"
            raise ValueError(f"{shown} is neither an http(s) URL nor one of: {', '.join(known)}")
    return words


def is_http_url(word: str) -> bool:
    """Whether the text is a URL that can be asked for something."""
    if not re.fullmatch(r"[\x21-\x7e]+", word):
        return False
    try:
        parts = urlsplit(word)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def host_of(url: str) -> str:
    """The host of a URL: all of it that errors and logs may show."""
    return urlsplit(url).hostname or "unknown host"


def without_secrets(entry: str) -> str:
    """An entry of a chain as an operator may see it: a URL without user, password and query."""
    parts = urlsplit(entry)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if parts.netloc else entry


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
