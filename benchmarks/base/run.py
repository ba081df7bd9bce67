"""Shared by the parts of one run."""

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.base.checkouts import Checkout
from benchmarks.base.databases import Databases


@dataclass(frozen=True)
class Plan:
    """Length and number of measurements."""

    engines: tuple[str, ...]
    rounds: int
    seconds: int
    """Length of one measurement by wrk."""
    minutes: float
    """Length of the memory part."""
    documents: int
    """Documents in one turn of tracking."""


@dataclass(frozen=True)
class Run:
    """A plan, a temporary folder, and the databases in it."""

    plan: Plan
    folder: Path
    databases: Databases
    checkouts: tuple[Checkout, ...]
    """The versions of the service to compare; this one is the last."""
    progress: Console
    _numbers: Iterator[int]

    def say(self, text: str) -> None:
        """Print to standard error what is being measured."""
        self.progress.print(text, style="dim")

    def new_folder(self) -> Path:
        """Create an empty folder in the run's folder."""
        folder = self.folder / f"part-{next(self._numbers)}"
        folder.mkdir()
        return folder


@contextmanager
def opened_run(plan: Plan, folder: Path, checkouts: tuple[Checkout, ...]) -> Iterator[Run]:
    """A run whose databases exist for the length of the block."""
    databases = Databases(folder)
    with contextlib.closing(databases):
        progress = Console(stderr=True, markup=False, highlight=False)
        yield Run(plan, folder, databases, checkouts, progress, itertools.count(1))
