"""Median and spread of repeated measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """What several measurements of one thing gave."""

    median: float
    low: float
    high: float

    def text(self, pattern: str | None = None) -> str:
        """The median, and the smallest and largest value in brackets.

        Args:
            pattern: For each number; by default two decimals, three where there would be one digit left.
        """
        pattern = pattern or (".2f" if self.median >= 0.1 else ".3f")
        return f"{self.median:{pattern}} ({self.low:{pattern}} - {self.high:{pattern}})"


def spread(values: Sequence[float]) -> Spread:
    """Median, smallest and largest of at least one value."""
    return Spread(median(values), min(values), max(values))


def ratios(values: Sequence[float], references: Sequence[float]) -> Spread:
    """The spread of value / reference, round by round; both have a value for each round."""
    return spread([value / reference for value, reference in zip(values, references, strict=True)])
