"""What a check found."""

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

    def without(self, secrets: tuple[str, ...]) -> "Finding":
        """The same, with these texts hidden: what a server says may quote anything."""
        says = self.says
        for secret in secrets:
            says = says.replace(secret, "********")
        return self.model_copy(update={"says": says})


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
