"""What the parts of one run share."""

import contextlib
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.base.databases import Databases


@dataclass(frozen=True)
class Plan:
    """How long and how often to measure."""

    engines: tuple[str, ...]
    rounds: int
    seconds: int
    """Of one measurement by wrk."""
    minutes: float
    """Of the watch on memory."""
    documents: int
    """Of one turn of tracking."""


@dataclass(frozen=True)
class Run:
    """A plan, a folder that goes away, and the databases in it."""

    plan: Plan
    folder: Path
    databases: Databases
    progress: Console
    _numbers: Iterator[int]

    def say(self, text: str) -> None:
        """Tell on standard error what is being measured."""
        self.progress.print(text, style="dim")

    def new_folder(self) -> Path:
        """An empty folder below the run's."""
        folder = self.folder / f"part-{next(self._numbers)}"
        folder.mkdir()
        return folder


@contextmanager
def opened_run(plan: Plan, folder: Path) -> Iterator[Run]:
    """A run whose databases end with the block."""
    databases = Databases(folder)
    with contextlib.closing(databases):
        yield Run(plan, folder, databases, Console(stderr=True, markup=False, highlight=False), itertools.count(1))
