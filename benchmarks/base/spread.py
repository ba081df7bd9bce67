"""Median and spread of repeated measurements."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """Result of repeated measurements."""

    median: float
    low: float
    high: float

    def text(self, pattern: str | None = None) -> str:
        """Format the median, with the smallest and largest value in brackets.

        Args:
            pattern: Format of each number; by default two decimals, three for small numbers.
        """
        pattern = pattern or (".2f" if self.median >= 0.1 else ".3f")
        return f"{self.median:{pattern}} ({self.low:{pattern}} - {self.high:{pattern}})"


def spread(values: Sequence[float]) -> Spread:
    """Median, smallest and largest of at least one value."""
    return Spread(median(values), min(values), max(values))


def ratios(values: Sequence[float], references: Sequence[float]) -> Spread:
    """The spread of value / reference in each round."""
    return spread([value / reference for value, reference in zip(values, references, strict=True)])
