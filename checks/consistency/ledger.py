"""Which data a response may show after the refreshes so far. Pure: times are arguments."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

BASE_POPULATION: Final = 1_000_000
"""In generation n the population of every country is this plus n."""
_POPULATION: Final = re.compile(rb'"population":(\d+)')
_REFRESHED_AT: Final = re.compile(rb'"last_refreshed_at":"([^"]+)"')

MIXED, SAME, OTHER, WRONG_304, ERROR = "mixed", "too old, same process", "too old, other process", "wrong 304", "error"


@dataclass(frozen=True)
class Refreshed:
    """An answered refresh."""

    generation: int
    process: int
    """Number of the process that refreshed."""
    answered: float
    """Seconds of the monotonic clock."""


@dataclass(frozen=True)
class Read:
    """A response with the full list."""

    process: int
    begun: float
    """Seconds of the monotonic clock, taken before the request was sent."""
    status: int
    body: bytes
    etag: str | None
    """The one of a 200, or for a 304 the one of the request."""


@dataclass
class Ledger:
    """Counts reads and broken promises."""

    revalidate_seconds: float
    refreshes: list[Refreshed] = field(default_factory=list)
    tags: dict[str, int] = field(default_factory=dict)
    """Generation of each entity tag."""
    counts: Counter[str] = field(default_factory=Counter)
    reads: int = 0
    not_modified: int = 0

    def judge(self, read: Read) -> None:
        """Check a read against the promises at its beginning."""
        self.reads += 1
        self.not_modified += read.status == 304
        generation = self._generation(read)
        if generation is None:
            return
        same, other = self._promised(read)
        if generation < max(same, other):
            self.counts[WRONG_304 if read.status == 304 else SAME if generation < same else OTHER] += 1

    def _generation(self, read: Read) -> int | None:
        """The generation of a response; None, and counted, if there is not exactly one."""
        if read.status == 304:
            known = self.tags.get(read.etag or "")
            self.counts[WRONG_304] += known is None
            return known
        if read.status != 200:
            self.counts[ERROR] += 1
            return None
        populations, times = set(_POPULATION.findall(read.body)), set(_REFRESHED_AT.findall(read.body))
        if len(populations) != 1 or len(times) != 1:
            self.counts[MIXED] += 1
            return None
        generation = int(populations.pop()) - BASE_POPULATION
        if read.etag and self.tags.setdefault(read.etag, generation) != generation:
            self.counts[WRONG_304] += 1  # one tag for two contents leads to a wrong 304
        return generation

    def _promised(self, read: Read) -> tuple[int, int]:
        """The oldest allowed generation, by refreshes through this process and through others."""
        same = [
            done.generation for done in self.refreshes if done.process == read.process and done.answered < read.begun
        ]
        latest = read.begun - self.revalidate_seconds
        other = [done.generation for done in self.refreshes if done.answered < latest]
        return max(same, default=0), max(other, default=0)

    def problems(self) -> list[str]:
        """One line for each kind of broken promise."""
        return [f"{number:,} x {kind}" for kind, number in self.counts.items() if number]
