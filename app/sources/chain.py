"""Chains of sources: the first usable answer wins."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from loguru import logger

from app.core.errors import UpstreamUnavailable

CHAIN_SECONDS: Final = 25.0
"""Time limit of a whole chain."""

T = TypeVar("T")


class SourceFailed(Exception):
    """A source gave no usable answer, so the next one is asked. Clients see the text."""


class SourceRefused(SourceFailed):
    """The source refused our key. Ends the chain, so that the operator notices."""


@dataclass(frozen=True)
class Source(Generic[T]):
    """One member of a chain."""

    name: str
    """A known name, or the host of a URL; shown in results, errors and the picture."""
    read: Callable[[float], Awaitable[T]]
    """Fetches and parses within the given seconds; may raise any exception."""
    is_local: bool = False
    """Whether it ships with the service, and so is asked even when the time is up."""
    host: str | None = None
    """Which of its addresses this is; None if it has only one."""

    @property
    def label(self) -> str:
        """The name in errors, with the host if the source has several addresses."""
        return f"{self.name} at {self.host}" if self.host else self.name

    async def ask(self, seconds: float) -> T:
        """Fetch and parse within the given seconds.

        Raises:
            SourceFailed: It gave no usable answer, whatever the reason: an exception that nobody foresaw must not keep
                the next source from being asked. Its text is only the type, because its message may hold a secret.
        """
        try:
            return await self.read(seconds)
        except SourceFailed:
            raise
        except Exception as error:
            logger.opt(exception=error).error("Unforeseen failure of the source {}", self.name)
            raise SourceFailed(f"failed unexpectedly ({type(error).__name__})") from error


async def first_usable(
    api: str, chain: Sequence[Source[T]], *, timeout: float, note: Callable[[str, str], None]
) -> tuple[str, T]:
    """Ask the sources in order until one gives a usable answer; the whole chain has CHAIN_SECONDS.

    Returns:
        The name of the source that answered, and its answer.

    Raises:
        UpstreamUnavailable: As ``usable_answers()``.
    """
    deadline = asyncio.get_running_loop().time() + CHAIN_SECONDS
    answers = await usable_answers(api, chain, timeout=timeout, deadline=deadline, note=note)
    source, answer = answers[-1]
    return source.name, answer


async def usable_answers(
    api: str,
    chain: Sequence[Source[T]],
    *,
    timeout: float,
    deadline: float,
    note: Callable[[str, str], None],
    objection: Callable[[T], str | None] = lambda _: None,
    refusal: Callable[[T], str | None] = lambda _: None,
) -> list[tuple[Source[T], T]]:
    """Ask the sources in order until one gives a usable answer without an objection.

    Args:
        api: Name of the chain in errors, such as "country API".
        chain: The sources, best first.
        timeout: Seconds per source.
        deadline: Time of the event loop at which the whole chain must end.
        note: Called with the name of each source, and ``usable`` or ``failed``, also for an answer with an objection.
        objection: What speaks against an answer while a later source may have a better one; None if nothing does.
        refusal: Why an answer is not usable; None if it is.

    Returns:
        Every usable answer. Only the last one may be without an objection.

    Raises:
        UpstreamUnavailable: No source gave a usable answer; the details give the reason of each.
    """
    loop = asyncio.get_running_loop()
    answers, failures = [], []
    for source in chain:
        seconds = min(timeout, deadline - loop.time())
        try:
            if seconds <= 0 and not source.is_local:
                raise SourceFailed(f"not asked: the chain's {CHAIN_SECONDS:g} s were used up")
            answer = await source.ask(seconds)
            if reason := refusal(answer):
                raise SourceFailed(reason)
        except SourceFailed as failure:
            logger.warning("No data from {} ({}: {})", api, source.label, failure)
            note(source.name, "failed")
            failures.append(f"{source.label}: {failure}")
            if isinstance(failure, SourceRefused):
                break
            continue
        answers.append((source, answer))
        problem = objection(answer)
        if problem is None:
            note(source.name, "usable")
            break
        logger.warning("Old rates from {} ({}: {})", api, source.label, problem)
        note(source.name, "failed")
    if not answers:
        raise UpstreamUnavailable(api, "; ".join(failures) or "no source is configured")
    return answers
