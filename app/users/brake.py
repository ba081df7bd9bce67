"""Slows down whoever keeps guessing passwords."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from app.core.errors import AppError

_FREE_TRIES: Final = 5
_LONGEST_PAUSE: Final = 60.0
_FORGOTTEN_SECONDS: Final = 900.0
_MOST_NAMES: Final = 10_000


class TooManyTries(AppError):
    """Sign-in failed too often for this address."""

    status_code = 429
    title = "Too many requests"

    def __init__(self, seconds: float) -> None:
        retry_after = math.ceil(seconds)
        super().__init__(
            f"Sign-in failed too often; try again in {retry_after} s", headers={"Retry-After": str(retry_after)}
        )


class Brake:
    """Counts tries by name, known or not: five are free, then each needs a pause twice as long, up to a minute.

    A try counts from its beginning, so that many at once are no way around. It
    is kept in memory, by each process for itself: strangers must not be able to
    fill a table.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tries: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Number of tries, and the time of the last, by name; the one tried last is last."""

    def admit(self, name: str) -> None:
        """Let one try through.

        Raises:
            TooManyTries: It comes too early.
        """
        now = self._monotonic()
        tries, last = self._tries.get(name, (0, now))
        if now - last > _FORGOTTEN_SECONDS:
            tries = 0
        pause = 0.0 if tries < _FREE_TRIES else min(_LONGEST_PAUSE, 2.0 ** min(tries - _FREE_TRIES, 10))
        if now < last + pause:
            raise TooManyTries(last + pause - now)
        self._tries[name] = (tries + 1, now)
        self._tries.move_to_end(name)
        if len(self._tries) > _MOST_NAMES:
            self._tries.popitem(last=False)

    def take_back(self, name: str) -> None:
        """Not count the last try of a name, which failed for a reason of ours."""
        if name in self._tries:
            tries, last = self._tries[name]
            self._tries[name] = (tries - 1, last)

    def release(self, name: str) -> None:
        """Forget the tries of a name that has signed in."""
        self._tries.pop(name, None)
