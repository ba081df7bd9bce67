"""Results as tables: on the terminal and in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table as RichTable


@dataclass(frozen=True)
class Table:
    """A title, the names of the columns, and the cells; the first column names the rows."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass
class Report:
    """Results of one part of a run."""

    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Broken promises; one fails the run."""


def show(report: Report, console: Console) -> None:
    """Print a report."""
    for table in report.tables:
        shown = RichTable(title=table.title, title_justify="left", box=box.SIMPLE)
        for number, name in enumerate(table.columns):
            shown.add_column(name, justify="right" if number else "left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for note in report.notes:
        console.print(note)
    for failure in report.failures:
        console.print(f"BROKEN: {failure}")


def to_markdown(report: Report) -> str:
    """A report with its failures as Markdown."""
    blocks = [_table(table) for table in report.tables]
    lines = [*report.notes, *(f"**Broken:** {failure}" for failure in report.failures)]
    if lines:
        blocks.append("\n".join(f"- {line}" for line in lines))
    return "\n\n".join(blocks)


def _table(table: Table) -> str:
    rule = ["---", *("---:" for _ in table.columns[1:])]
    lines = [_row(table.columns), _row(rule), *(_row(row) for row in table.rows)]
    return f"{table.title}\n\n" + "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
