"""What the service counts about itself: plain numbers, which cost an answer next to nothing.

``app.core.telemetry.prometheus`` puts them into the words of Prometheus when somebody looks.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final, NamedTuple

REQUEST_BOUNDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
REFRESH_BOUNDS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""

REFRESH_RESULTS: Final = ("success", "sources_unavailable", "database_unavailable", "in_progress", "error")
SOURCE_RESULTS: Final = ("usable", "failed")
CACHE_RESULTS: Final = ("hit", "miss", "stale", "bypass")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
"""What stands for methods and paths that the service does not have: clients choose these, each would be a series."""


class Durations:
    """How long something took, in a few classes: what a histogram is made of."""

    __slots__ = ("bounds", "buckets", "seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        """By the upper bound; the last one is of those that took longer."""
        self.seconds = 0.0
        """All together."""

    def add(self, seconds: float) -> None:
        """Count one."""
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds

    def include(self, others: "Durations") -> None:
        """Count all of others with the same bounds."""
        self.buckets = [own + other for own, other in zip(self.buckets, others.buckets, strict=True)]
        self.seconds += others.seconds


class RequestCounts:
    """Answers by method, route and status."""

    def __init__(self) -> None:
        self.durations: dict[tuple[str, str, int], Durations] = {}

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; ``route`` is never a path as a client wrote it."""
        key = (method, route, status)
        durations = self.durations.get(key)
        if durations is None:
            durations = self.durations[key] = Durations(REQUEST_BOUNDS)
        # Durations.add() without the call, of which there are 20,000 a second.
        durations.buckets[bisect_left(REQUEST_BOUNDS, seconds)] += 1
        durations.seconds += seconds


def method_label(method: str) -> str:
    """A method that the service knows, or ``other``."""
    return method if method in _METHODS else OTHER


class DataFigures(NamedTuple):
    """What is known of the data that are stored."""

    countries: int
    refreshed_at: datetime
    country_source: str
    rate_source: str
    rates_day: date


def _from_zero(names: tuple[str, ...]) -> Counter[str]:
    """A counter that shows its zeros: Prometheus sees no growth in a figure that begins with one."""
    return Counter(dict.fromkeys(names, 0))


@dataclass
class Counts:
    """All that one application counts, from its making on."""

    requests: RequestCounts = field(default_factory=RequestCounts)
    cache: Counter[str] = field(default_factory=lambda: _from_zero(CACHE_RESULTS))
    """Reads of what can be kept in memory, by result."""
    limited: Counter[str] = field(default_factory=Counter)
    """Refusals by the name of the limit."""
    overloaded: int = 0
    """Refusals because too much was under way."""
    refreshes: Counter[str] = field(default_factory=lambda: _from_zero(REFRESH_RESULTS))
    refresh_durations: Durations = field(default_factory=lambda: Durations(REFRESH_BOUNDS))
    """Of those that stored something."""
    sources: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By data (``countries`` or ``rates``), name of the source, and ``usable`` or ``failed``."""
    data: DataFigures | None = None
    """As they were last seen; None before the first refresh."""

    def note_source(self, data: str, source: str, result: str) -> None:
        """Count an answer of a source; the other result shows its zero."""
        for known in SOURCE_RESULTS:
            self.sources[data, source, known] += known == result
