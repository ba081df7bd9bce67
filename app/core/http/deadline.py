"""One deadline that moves often, watched by one timer that is seldom set."""

import math
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable


class Deadline:
    """Calls a function once the time that a client was given has passed.

    Moving the deadline to a later time, or lifting it, is only an assignment: the timer fires at the old time, looks
    how much is left, and is set again.
    """

    def __init__(self, loop: AbstractEventLoop, when_passed: Callable[[], None]) -> None:
        self._loop = loop
        self._when_passed = when_passed
        self._timer: TimerHandle | None = None
        self._timer_at = math.inf
        self.at = math.inf
        """Of the event loop's clock; infinite while nothing is due."""

    def allow(self, seconds: float) -> None:
        """Give this much time from now."""
        self.at = self._loop.time() + seconds
        if self.at < self._timer_at:
            self.cancel()
            self._timer = self._loop.call_at(self.at, self._look)
            self._timer_at = self.at

    def lift(self) -> None:
        """Give time without limit."""
        self.at = math.inf

    def cancel(self) -> None:
        """End the timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer, self._timer_at = None, math.inf
        left = self.at - self._loop.time()
        if left <= 0:
            self._when_passed()
        elif left < math.inf:
            self.allow(left)
