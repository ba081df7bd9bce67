"""Loops in the background: one failure, foreseen or not, does not end them."""

from asyncio import sleep
from collections.abc import Awaitable, Callable

from loguru import logger

from app.core.errors import AppError, in_one_line


async def repeat(turn: Callable[[], Awaitable[float | None]], *, pause_after_failure: float, when_failed: str) -> None:
    """Take turns until one returns None, or until cancelled.

    Args:
        turn: Returns the seconds until the next turn. May raise any exception, which is logged.
        pause_after_failure: Seconds until the turn after one that failed.
        when_failed: The log message of a failure, such as ``Refreshing in the background failed``.
    """
    while True:
        try:
            pause = await turn()
        except Exception as error:
            log_failure(when_failed, error)
            pause = pause_after_failure
        if pause is None:
            return
        await sleep(pause)


def log_failure(message: str, error: Exception) -> None:
    """Log one line for an error that names its reason, and a traceback for any other."""
    if isinstance(error, AppError):
        logger.warning("{}: {}", message, in_one_line(error.details or error.title))
    else:
        logger.opt(exception=error).error("{}", message)
