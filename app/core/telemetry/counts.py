"""Counters of one process: plain numbers, so that counting a request costs about a microsecond.

``app.core.telemetry.prometheus`` turns them into metrics on request.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

REQUEST_BOUNDS: Final = (0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
REFRESH_BOUNDS: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the histogram buckets, in seconds."""

_REFRESH_RESULTS: Final = ("success", "sources_unavailable", "database_unavailable", "in_progress", "error")
_CACHE_RESULTS: Final = ("hit", "miss", "stale", "bypass")
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
"""Label for unknown methods and paths, to bound the number of series."""


class Durations:
    """Durations counted in buckets, for a histogram."""

    __slots__ = ("bounds", "buckets", "seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        """Counts by upper bound; the last one is for longer durations."""
        self.seconds = 0.0
        """Sum of all durations."""

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds

    def include(self, others: "Durations") -> None:
        """Add the counts of other durations with the same bounds."""
        self.buckets = [own + other for own, other in zip(self.buckets, others.buckets, strict=True)]
        self.seconds += others.seconds


@dataclass(frozen=True)
class DataFigures:
    """Number, age and sources of the stored data."""

    total_countries: int
    refreshed_at: datetime
    """End of the refresh, UTC."""
    country_source: str
    rate_source: str
    rates_date: date
    """Day of the exchange rates."""


def _from_zero(names: tuple[str, ...]) -> Counter[str]:
    """A counter that starts at 0 for each name: Prometheus misses the first increase of a series that starts at 1."""
    return Counter(dict.fromkeys(names, 0))


@dataclass
class Counts:
    """Everything that one application has counted since it was created."""

    requests: dict[tuple[str, str, int], Durations] = field(default_factory=dict)
    """Durations of responses by method, route and status."""
    cache: Counter[str] = field(default_factory=lambda: _from_zero(_CACHE_RESULTS))
    """Reads of cacheable routes by result."""
    limited: Counter[str] = field(default_factory=Counter)
    """Requests refused by rate limit, by name of the limit."""
    overloaded: int = 0
    """Requests refused because of overload."""
    refreshes: Counter[str] = field(default_factory=lambda: _from_zero(_REFRESH_RESULTS))
    refresh_durations: Durations = field(default_factory=lambda: Durations(REFRESH_BOUNDS))
    """Durations of successful refreshes."""
    sources: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Responses of sources by data (``countries`` or ``rates``), name of the source, and ``usable`` or ``failed``."""
    data: DataFigures | None = None
    """Stored data when last read; None before the first refresh."""

    def note_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a response; ``route`` is a route's path template or ``other``, never the request's path."""
        key = (method, route, status)
        durations = self.requests.get(key)
        if durations is None:
            durations = self.requests[key] = Durations(REQUEST_BOUNDS)
        # Durations.add() inlined: cached reads come 20,000 times a second.
        durations.buckets[bisect_left(REQUEST_BOUNDS, seconds)] += 1
        durations.seconds += seconds

    def note_source(self, data: str, source: str, result: str) -> None:
        """Count a source's response; the series of the other result starts at 0."""
        for each in ("usable", "failed"):
            self.sources[data, source, each] += each == result
