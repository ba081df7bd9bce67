"""Tables with a column for each measured version of the service."""

from collections.abc import Mapping

from benchmarks.base.checkouts import HERE
from benchmarks.base.spread import ratios, spread
from benchmarks.base.tables import Table

Measured = dict[str, dict[str, list[float]]]
"""Name of the row, name of the version, one value per round."""


def add(measured: Measured, row: str, version: str, value: float) -> None:
    """Append the value of one round."""
    measured.setdefault(row, {}).setdefault(version, []).append(value)


def to_table(title: str, measured: Mapping[str, Mapping[str, list[float]]], *, pattern: str | None = None) -> Table:
    """A row per measurement; with two versions, also the ratio of this one to the other, round by round.

    Args:
        title: Title of the table.
        measured: The values, with the same versions in each row; this checkout is the last one.
        pattern: Format of each number, as of :meth:`Spread.text`.
    """
    versions = list(next(iter(measured.values())))
    others = [version for version in versions if version != HERE.name]
    rows = []
    for name, values in measured.items():
        cells = [spread(values[version]).text(pattern) for version in versions]
        rows.append((name, *cells, *(_ratio(values[HERE.name], values[other]) for other in others)))
    return Table(title, ("measured", *versions, *(f"{HERE.name} / {other}" for other in others)), rows)


def _ratio(values: list[float], references: list[float]) -> str:
    return ratios(values, references).text() if min(references) > 0 else "-"
