"""The responses of a service around a fault of its database, checked against the promises."""

from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from statistics import median

from checks.support.traffic import Answer

AT_MOST = 5
"""Seconds that any response may take."""
BACK_SECONDS = 2
_LIVE_SECONDS = 1
_REVALIDATE_SECONDS = 1
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
        self._none([one for one in self.answers if one.problem or not (one.is_success or one.status == 503)])
        self._none([one for one in self.answers if one.status == 503 and int(one.headers.get("retry-after", 0)) < 1])
        bounded = [one for one in self.answers if is_away or not _may_take_longer(one)]
        # A busy machine takes longer to check a password, between two queries.
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

    def _after(self, seconds: float) -> list[Answer]:
        return [one for one in self.answers if one.began > self.healed + seconds]

    def _back(self) -> float:
        """Seconds after the fault until every kind of request had succeeded once."""
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
        examples = [
            f"{one.kind} from {one.began - self.began:.2f} to {one.ended - self.began:.2f} s: "
            f"{one.status} {one.problem} {one.refusal}"
            for one in wrong[:5]
        ]
        assert not wrong, f"{kinds}, such as {examples} in a fault of {lasted:.1f} s"


def _may_take_longer(one: Answer) -> bool:
    """Whether the limit does not apply while the database answers: changes of many documents, and refreshes."""
    return one.kind in ("advance", "refresh")
