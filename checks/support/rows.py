"""Checks as rows of a table, each with its measured figure.

``scripts/checks`` runs all rows of a part at full size and prints the table; plain pytest runs them at a small size.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.base.document import write_section
from benchmarks.base.tables import Report, Table, to_markdown

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/reliability.md"
COLUMNS: Final = ("check", "figure", "result")


def pytest_addoption(parser: pytest.Parser) -> None:
    options = parser.getgroup("rows of a table")
    options.addoption("--full", metavar="TABLE", help="Run checks at full size, and print this table of them.")
    options.addoption("--soak", type=float, default=10, metavar="MINUTES", help="Length of the soak (10).")
    options.addoption("--write-table", action="store_true", help="Write the table to docs/reliability.md.")


@pytest.fixture(scope="session")
def is_full(pytestconfig: pytest.Config) -> bool:
    """Whether the checks run at full size."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Records what the check measured; a check without a figure fails."""

    def record(text: str) -> None:
        request.node.user_properties.append(("figure", text))

    return record


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the row to the report, so that the table also has checks that failed before they measured anything."""
    marker = item.get_closest_marker("row")
    if marker is not None and not any(name == "row" for name, _ in item.user_properties):
        engine = item.callspec.params.get("engine", "") if hasattr(item, "callspec") else ""
        item.user_properties.append(("row", " ".join(filter(None, (*marker.args, engine)))))
    return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skipped check, or one without a figure, fails the run."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--full") and any(result == "FAIL" for *_, result in _rows(reporter.stats)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if not config.getoption("--full"):
        return
    rows = sorted(_rows(terminalreporter.stats))
    terminalreporter.section(config.getoption("--full"))
    widths = [max(len(row[column]) for row in [*rows, COLUMNS]) for column in range(2)]
    for name, measured, result in rows:
        terminalreporter.write_line(f"{result}  {name:<{widths[0]}}  {measured}")
    if config.getoption("--write-table"):
        write_section(PAGE, config.getoption("--full"), to_markdown(Report([Table("", COLUMNS, rows)])).strip())


def _rows(stats: dict[str, list[Any]]) -> Iterator[tuple[str, str, str]]:
    """Name, figure and result of each check; a skipped one has not passed."""
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, ()):
            properties = dict(getattr(report, "user_properties", ()))
            if "row" in properties:
                has_passed = outcome == "passed" and "figure" in properties
                yield properties["row"], properties.get("figure", _reason(report)), "PASS" if has_passed else "FAIL"


def _reason(report: Any) -> str:
    if report.outcome == "skipped":
        return str(report.longrepr[-1])
    return "no figure"


def row(name: str, *values: object) -> Any:
    """One set of parameters of a check, with a row of its own."""
    return pytest.param(*values, marks=pytest.mark.row(name))
