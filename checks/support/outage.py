"""A fault of the database, told from the answers of a service that had to live with it."""

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from statistics import median

from checks.support.traffic import Answer

AT_MOST = 5
"""Seconds for any answer."""
BACK_SECONDS = 2
_LIVE_SECONDS = 1
_REVALIDATE_SECONDS = 1
CHANGES = frozenset({"rename", "sign in", "documents", "stream", "put transfer", "refresh"})
"""Kinds of requests that have to write. Moving documents forward does not where all are there already."""


@dataclass(frozen=True)
class Outage:
    """The answers around a fault."""

    answers: list[Answer]
    afterwards: list[Answer]
    """Those of them that were only asked for when the fault had ended."""
    began: float
    still_on: float
    """The last moment of which it is sure that the fault was there."""
    healed: float

    def check(self, *, is_away: bool, refused: Set[str]) -> None:
        """Hold every answer against what is promised."""
        self._none([one for one in self.answers if one.problem or not (one.is_success or one.status == 503)])
        self._none([one for one in self.answers if one.status == 503 and int(one.headers.get("retry-after", 0)) < 1])
        bounded = [one for one in self.answers if is_away or not _may_take_longer(one)]
        # A busy machine takes its time for a password, between two questions to the database.
        self._none([one for one in bounded if self._took(one) > AT_MOST + (one.kind == "sign in")])
        live = [one for one in self.answers if one.kind == "live"]
        self._none([one for one in live if one.status != 200])
        assert median(one.ended - one.began for one in live) < _LIVE_SECONDS
        memory = [one for one in self.answers if one.kind == "memory"]
        self._none([one for one in memory if one.status != 200])
        self._none(
            [one for one in memory if one.is_stale and "detail=database-unavailable" not in one.headers["cache-status"]]
        )
        self._none(
            [one for one in self._after(BACK_SECONDS) if one.kind != "refresh" and (one.is_stale or not one.is_success)]
        )
        away = [one for one in self.answers if one.began > self.began and one.ended < self.still_on]
        self._none([one for one in away if one.status != 503 and one.kind in refused])
        if is_away:
            self._none([one for one in away if one.status != 503 and one.kind not in ("memory", "live")])
            late = [one for one in away if one.began > self.began + _REVALIDATE_SECONDS]
            self._none([one for one in late if one.kind == "memory" and not one.is_stale])

    @property
    def refusals(self) -> int:
        """How many answers were 503."""
        return sum(one.status == 503 for one in self.answers)

    def figure(self) -> str:
        """Everything in one line."""
        slowest = max(self._took(one) for one in self.answers if not _may_take_longer(one))
        stale = sum(one.is_stale for one in self.answers)
        return (
            f"slowest of {len(self.answers)} answers {slowest:.1f} s of {AT_MOST}, "
            f"{self.refusals} 503, no other error; {stale} stale from memory; all back after {self._back():.1f} s"
        )

    def _took(self, one: Answer) -> float:
        """Seconds, without those before the fault."""
        return one.ended - (max(one.began, self.began) if one.ended > self.began else one.began)

    def _after(self, seconds: float) -> list[Answer]:
        return [one for one in self.answers if one.began > self.healed + seconds]

    def _back(self) -> float:
        """Seconds until every kind of request had succeeded once."""
        first: dict[str, float] = {}
        for one in self.afterwards:
            if one.is_success and not one.is_stale:
                first.setdefault(one.kind, one.ended - self.healed)
        missing = {one.kind for one in self.answers} - first.keys()
        assert not missing, [one for one in self.afterwards if one.kind in missing]
        return max(first.values())

    def _none(self, wrong: list[Answer]) -> None:
        kinds = Counter(f"{one.kind} {one.status}" for one in wrong)
        lasted = self.healed - self.began
        told = [
            f"{one.kind} from {one.began - self.began:.2f} to {one.ended - self.began:.2f} s: "
            f"{one.status} {one.problem} {one.told}"
            for one in wrong[:5]
        ]
        assert not wrong, f"{kinds}, such as {told} in a fault of {lasted:.1f} s"


def _may_take_longer(one: Answer) -> bool:
    """Whether it may, as long as the database answers: a change of many documents, and a refresh with its sources."""
    return one.kind in ("advance", "refresh")
