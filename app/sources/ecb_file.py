"""Reads the European Central Bank's files of exchange rates, and checks them line by line.

app.sources.ecb_days says which files these are.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from app.sources.ecb_cells import PastDay
from app.sources.ecb_days import read_days
from app.sources.ecb_lines import UnusableFile, read_lines
from app.sources.rate_checks import TENFOLD


def check_history(path: Path, *, today: date, force: bool) -> dict[date, int]:
    """Read and check the whole file.

    Args:
        path: The file.
        today: The day in UTC; later days are an error.
        force: Accept rates that changed more than tenfold.

    Returns:
        The number of rates of each day.

    Raises:
        UnusableFile: A line is invalid, or a rate changed more than tenfold to the neighbouring day.
    """
    sizes: dict[date, int] = {}
    beside: dict[str, float] = {}
    before: date | None = None
    for past in read_history(path, today=today):
        if not force and before is not None:
            check_moves(past, beside, f"the {'next' if past.day < before else 'previous'} day in the file")
        beside.update(past.rates)  # across a gap, compare with the last known rate
        before = past.day
        sizes[past.day] = len(past.rates)
    if not sizes:
        raise UnusableFile("contains no rates")
    return sizes


def read_history(path: Path, *, today: date) -> Iterator[PastDay]:
    """Read a CSV file, or a zip archive with one in it, from the newest day to the oldest or the other way round.

    Days without any rate are skipped.

    Raises:
        UnusableFile: A line is invalid, or the file cannot be read.
    """
    yield from read_days(read_lines(path), today=today)


def check_moves(past: PastDay, neighbour: Mapping[str, float], when: str) -> None:
    """Compare a day's rates with those of a neighbouring day, which ``when`` names in the error.

    Raises:
        UnusableFile: A rate is more than ten times the other.
    """
    for code, line in past.lines.items():
        rate = past.rates[code]
        other = neighbour.get(code, rate)
        if not other / TENFOLD <= rate <= other * TENFOLD:
            raise UnusableFile(
                f"line {line}: {code} is {rate:g}, and {other:g} on {when}, a change of more than tenfold; "
                "--force accepts it"
            )
