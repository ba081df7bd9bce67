"""Slows down password guessing."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from app.core.errors import AppError

_FREE_ATTEMPTS: Final = 5
_MAX_PAUSE: Final = 60.0
"""Seconds."""
_FORGET_SECONDS: Final = 900.0
"""Time without an attempt after which the count starts again."""
_MAX_NAMES: Final = 10_000


class TooManyAttempts(AppError):
    """Too many sign-in attempts for this address."""

    status_code = 429
    title = "Too many requests"

    def __init__(self, seconds: float) -> None:
        retry_after = math.ceil(seconds)
        super().__init__(
            f"Sign-in failed too often; try again in {retry_after} s", headers={"Retry-After": str(retry_after)}
        )


class SignInThrottle:
    """Limits sign-in attempts by e-mail address, whether or not an account has it.

    Five attempts are free. Each further one must wait twice as long as the
    last, up to a minute. Attempts count when they start, so sending many at
    once does not help. Each process counts in memory: a table could be filled
    by strangers.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._attempts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Number of attempts and time of the last one, by name, in the order of these times."""

    def admit(self, name: str) -> None:
        """Count an attempt.

        Raises:
            TooManyAttempts: It comes too early.
        """
        now = self._monotonic()
        attempts, last = self._attempts.get(name, (0, now))
        if now - last > _FORGET_SECONDS:
            attempts = 0
        pause = 0.0 if attempts < _FREE_ATTEMPTS else min(_MAX_PAUSE, 2.0 ** min(attempts - _FREE_ATTEMPTS, 10))
        if now < last + pause:
            raise TooManyAttempts(last + pause - now)
        self._attempts[name] = (attempts + 1, now)
        self._attempts.move_to_end(name)
        if len(self._attempts) > _MAX_NAMES:
            self._attempts.popitem(last=False)

    def undo(self, name: str) -> None:
        """Undo the last attempt: it failed through no fault of the caller."""
        if name in self._attempts:
            attempts, last = self._attempts[name]
            self._attempts[name] = (attempts - 1, last)

    def reset(self, name: str) -> None:
        """Forget the attempts of a name that has signed in."""
        self._attempts.pop(name, None)
