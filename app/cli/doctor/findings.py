"""The findings of the checks."""

from collections.abc import Callable
from enum import StrEnum

from pydantic import BaseModel


class Verdict(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(BaseModel):
    """The result of one check."""

    check: str
    verdict: Verdict
    says: str
    advice: str | None = None
    """What to do; None if nothing needs doing."""

    def hidden(self, hide: Callable[[str], str]) -> "Finding":
        """A copy without secrets, which names, addresses and a server's messages may contain."""
        advice = None if self.advice is None else hide(self.advice)
        return self.model_copy(update={"check": hide(self.check), "says": hide(self.says), "advice": advice})


def ok(check: str, says: str) -> Finding:
    """A check that passed."""
    return Finding(check=check, verdict=Verdict.OK, says=says)


def warn(check: str, says: str, advice: str) -> Finding:
    """Something that works but deserves attention."""
    return Finding(check=check, verdict=Verdict.WARN, says=says, advice=advice)


def failed(check: str, says: str, advice: str) -> Finding:
    """Something that does not work."""
    return Finding(check=check, verdict=Verdict.FAIL, says=says, advice=advice)


def worst(findings: list[Finding]) -> Verdict:
    """The most severe verdict; OK without findings."""
    order = list(Verdict)
    return max((finding.verdict for finding in findings), key=order.index, default=Verdict.OK)
