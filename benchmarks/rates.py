"""Exchange rates: the import of a history, conversions against an independent library, and a year of one pair."""

from benchmarks import rates_check, rates_import, rates_year
from benchmarks.run import Run
from benchmarks.tables import Report


def measure(run: Run) -> Report:
    """Measure all three, one after the other."""
    report = Report()
    for part in (rates_import, rates_check, rates_year):
        found = part.measure(run)
        report.tables += found.tables
        report.notes += found.notes
        report.failures += found.failures
    return report
