"""What a check found."""

from collections.abc import Callable
from enum import StrEnum

from pydantic import BaseModel


class Verdict(StrEnum):
    """How bad it is: all right, worth a look, or something does not work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(BaseModel):
    """The answer of one check."""

    check: str
    verdict: Verdict
    says: str
    advice: str | None = None
    """What to do; None where nothing is to be done."""

    def hidden(self, hide: Callable[[str], str]) -> "Finding":
        """The same without secrets: what a server says may quote anything, and so may names and addresses."""
        advice = None if self.advice is None else hide(self.advice)
        return self.model_copy(update={"check": hide(self.check), "says": hide(self.says), "advice": advice})


def ok(check: str, says: str) -> Finding:
    """All right."""
    return Finding(check=check, verdict=Verdict.OK, says=says)


def warn(check: str, says: str, advice: str) -> Finding:
    """It works, and could be better."""
    return Finding(check=check, verdict=Verdict.WARN, says=says, advice=advice)


def failed(check: str, says: str, advice: str) -> Finding:
    """It does not work."""
    return Finding(check=check, verdict=Verdict.FAIL, says=says, advice=advice)


def worst(findings: list[Finding]) -> Verdict:
    """The verdict on all of them."""
    order = list(Verdict)
    return max((finding.verdict for finding in findings), key=order.index, default=Verdict.OK)
