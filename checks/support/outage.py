"""The responses of a service around a fault of its database, checked against the promises."""

from collections import Counter
from collections.abc import Callable, Set
from dataclasses import dataclass
from statistics import median

from checks.support.traffic import Answer

AT_MOST = 5
"""Seconds that any response may take."""
BACK_SECONDS = 2
_LIVE_SECONDS = 1
_REVALIDATE_SECONDS = 1
"""Age of what is known of the database, by the cache and by the readiness check."""
CHANGES = frozenset({"rename", "sign in", "documents", "stream", "put transfer", "refresh"})
"""Kinds of requests that must write. Advancing documents writes nothing if all are in that state."""


@dataclass(frozen=True)
class Outage:
    """The responses around a fault."""

    answers: list[Answer]
    afterwards: list[Answer]
    """Those whose requests were sent after the fault."""
    began: float
    still_on: float
    """The last moment at which the fault certainly existed."""
    healed: float

    def check(self, *, is_away: bool, refused: Set[str]) -> None:
        """Check every response against the promises."""
        self._none(lambda one: bool(one.problem) or not (one.is_success or one.status == 503))
        self._none(lambda one: one.status == 503 and int(one.headers.get("retry-after", 0)) < 1)
        # A busy machine takes longer to check a password, between two queries.
        self._none(
            lambda one: (is_away or not _may_take_longer(one)) and self._took(one) > AT_MOST + (one.kind == "sign in")
        )
        self._none(lambda one: one.kind in ("live", "memory") and one.status != 200)
        assert median(one.ended - one.began for one in self.answers if one.kind == "live") < _LIVE_SECONDS
        stale = "detail=database-unavailable"
        self._none(lambda one: one.kind == "memory" and one.is_stale and stale not in one.headers["cache-status"])
        self._none(
            lambda one: (
                one.began > self.healed + BACK_SECONDS
                and one.kind != "refresh"
                and (one.is_stale or not one.is_success)
            )
        )
        away = [one for one in self.answers if one.began > self.began and one.ended < self.still_on]
        self._none(lambda one: one.status != 503 and one.kind in refused, away)
        if is_away:
            self._none(lambda one: one.status != 503 and one.kind not in ("memory", "live", "ready"), away)
            late = [one for one in away if one.began > self.began + _REVALIDATE_SECONDS]
            self._none(lambda one: one.status != 503 and one.kind == "ready", late)
            self._none(lambda one: one.kind == "memory" and not one.is_stale, late)

    @property
    def refusals(self) -> int:
        """Number of 503 responses."""
        return sum(one.status == 503 for one in self.answers)

    def figure(self) -> str:
        """The figure of a check."""
        slowest = max(self._took(one) for one in self.answers if not _may_take_longer(one))
        stale = sum(one.is_stale for one in self.answers)
        return (
            f"slowest of {len(self.answers)} answers {slowest:.1f} s of {AT_MOST}, "
            f"{self.refusals} 503, no other error; {stale} stale from memory; all back after {self._back():.1f} s"
        )

    def _took(self, one: Answer) -> float:
        """Seconds of a response, not counting those before the fault."""
        return one.ended - (max(one.began, self.began) if one.ended > self.began else one.began)

    def _back(self) -> float:
        """Seconds after the fault until every kind of request had succeeded once."""
        first: dict[str, float] = {}
        for one in self.afterwards:
            if one.is_success and not one.is_stale:
                first.setdefault(one.kind, one.ended - self.healed)
        missing = {one.kind for one in self.answers} - first.keys()
        assert not missing, [one for one in self.afterwards if one.kind in missing]
        return max(first.values())

    def _none(self, is_wrong: Callable[[Answer], bool], answers: list[Answer] | None = None) -> None:
        wrong = [one for one in (self.answers if answers is None else answers) if is_wrong(one)]
        kinds = Counter(f"{one.kind} {one.status}" for one in wrong)
        lasted = self.healed - self.began
        examples = [
            f"{one.kind} from {one.began - self.began:.2f} to {one.ended - self.began:.2f} s: "
            f"{one.status} {one.problem} {one.refusal}"
            for one in wrong[:5]
        ]
        assert not wrong, f"{kinds}, such as {examples} in a fault of {lasted:.1f} s"


def _may_take_longer(one: Answer) -> bool:
    """Whether the limit does not apply while the database answers: changes of many documents, and refreshes."""
    return one.kind in ("advance", "refresh")
