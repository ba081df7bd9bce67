"""Counters of rate limits in the memory of this process."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from limits.aio.storage import Storage
from limits.aio.storage.base import SlidingWindowCounterSupport

MOST_CLIENTS: Final = 200_000
"""Clients that are remembered, in about 65 MB; beyond it the one that was counted longest ago is forgotten.

One that is counted by several limits takes a place for each.
"""


class _Counter(NamedTuple):
    window: int
    """Number of the period in which the key was last counted."""
    current: int
    previous: int
    """Count of the period before."""
    ends_at: float
    """When it no longer matters, Unix time."""


class CounterMemory(Storage, SlidingWindowCounterSupport):
    """Counters of sliding windows, for all limits together.

    Each count takes the same few steps however many clients are remembered: it removes at most two others. The memory
    storage of the library (limits 5.8) walks all of its keys, over and over.
    """

    def __init__(self, *, most: int = MOST_CLIENTS, clock: Callable[[], float] = time.time) -> None:
        """Remember this many keys at most; ``clock`` gives Unix time."""
        super().__init__()
        self._most = most
        self._clock = clock
        self._counters: OrderedDict[str, _Counter] = OrderedDict()
        """In the order in which they were last counted."""

    def __len__(self) -> int:
        return len(self._counters)

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """No error of this storage passes by itself."""
        return ()

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Add ``amount`` if the weighted count stays within the limit; a negative one gives back."""
        now = self._clock()
        previous, previous_left, current, _ = self._read(key, expiry, now)
        if math.floor(previous * previous_left / expiry) + current + amount > limit:
            return False
        window, current = int(now // expiry), current + amount
        # What is given back may have been counted in the period before.
        current, previous = max(0, current), max(0, previous + min(0, current))
        self._counters[key] = _Counter(window, current, previous, (window + 2) * expiry)
        self._counters.move_to_end(key)
        self._forget_some(now)
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Count of the previous period and its seconds left, and the same of the current one."""
        return self._read(key, expiry, self._clock())

    def _read(self, key: str, expiry: int, now: float) -> tuple[int, float, int, float]:
        window, passed = divmod(now, expiry)
        counter = self._counters.get(key)
        current = previous = 0
        if counter is not None and counter.window == window:
            current, previous = counter.current, counter.previous
        elif counter is not None and counter.window == window - 1:
            previous = counter.current
        return previous, expiry - passed if previous else 0.0, current, 2 * expiry - passed

    def _forget_some(self, now: float) -> None:
        """Remove up to two keys that no longer matter, which is faster than keys are added, or that are too many."""
        for _ in range(2):
            key, oldest = next(iter(self._counters.items()))
            if oldest.ends_at > now and len(self._counters) <= self._most:
                break
            del self._counters[key]

    async def _offer_nothing(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    # Every storage must have these, and counting by sliding window calls none of them.
    incr = get = get_expiry = check = reset = clear = clear_sliding_window = _offer_nothing
