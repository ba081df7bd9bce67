"""Exchange rates: the import of a history, conversions compared with a library, and a year of one pair."""

from benchmarks.base.run import Run
from benchmarks.base.tables import Report
from benchmarks.rates import check as rates_check
from benchmarks.rates import imports as rates_import
from benchmarks.rates import year as rates_year


def measure(run: Run) -> Report:
    """Measure all three, one after the other."""
    if len(run.checkouts) > 1:
        return rates_import.measure(run)  # the others do not compare versions
    report = Report()
    for part in (rates_import, rates_check, rates_year):
        found = part.measure(run)
        report.tables += found.tables
        report.notes += found.notes
        report.failures += found.failures
    return report
