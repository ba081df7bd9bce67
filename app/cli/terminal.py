"""What the commands share: the terminal, the settings, an up-to-date schema, and an end with one line."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Final, NoReturn, TypeVar

import typer
from alembic.util import CommandError
from loguru import logger
from pydantic_core import to_json
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from app.core.config.settings import Settings, load_settings
from app.core.db import migrations
from app.core.errors import AppError, DatabaseUnavailable
from app.core.http.access import Principal, Role
from app.core.http.problems import in_one_line
from app.core.telemetry.log import configure_logging

T = TypeVar("T")

COMMAND_LINE: Final = Principal("command line", Role.ADMIN)
"""Who acts where a command changes the database."""

# Names from sources and of files are shown as they are: no markup.
console: Final = Console(markup=False)
errors: Final = Console(stderr=True, markup=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

_WIDEST: Final = 1000


def examples(*lines: str) -> str:
    """The end of a command's help: commands that work as they stand, each in a line of its own."""
    # A bracket would open markup.
    return "Examples:\n" + "\n".join(f"  {line}" for line in lines).replace("[", r"\[")


def read_settings(**overrides: object) -> Settings:
    """Read the settings and set up the log; a wrong setting ends the command."""
    settings = load_settings(**overrides)
    configure_logging(settings)
    return settings


def read_settings_without_log() -> Settings:
    """The same for commands that only read: what goes wrong there is told once, as their error."""
    settings = read_settings()
    logger.remove()
    return settings


def bring_up_to_date(settings: Settings) -> None:
    """Bring the database schema up to date; where that fails, the command ends."""
    try:
        migrations.migrate(settings)
    except DatabaseUnavailable as error:
        error.details = f"{error.details}; start the database or correct DATABASE_URL, and try again"
        fail(error)
    except CommandError as error:  # such as a database that a newer version of the service has migrated
        errors.print(f"Migration failed: {error}", soft_wrap=True)
        raise typer.Exit(1) from error


def run(work: Callable[[], Awaitable[T]], *, doing: str | None = None) -> T:
    """Run asynchronous work; an error ends the command.

    Args:
        work: What to do.
        doing: Shown with a spinner and the seconds so far; None shows nothing.
    """
    try:
        return asyncio.run(_with_spinner(work, doing) if doing else _alone(work))
    except AppError as error:
        fail(error)
    except KeyboardInterrupt:
        errors.print(Text("Interrupted", "bold red"))
        raise typer.Exit(130) from None


async def _alone(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


async def _with_spinner(work: Callable[[], Awaitable[T]], doing: str) -> T:
    started = time.monotonic()
    task = asyncio.ensure_future(work())
    with errors.status(f"{doing} ...") as status:
        while not (await asyncio.wait([task], timeout=0.2))[0]:
            status.update(f"{doing} ... {time.monotonic() - started:.0f} s")
    return task.result()


def fail(error: AppError) -> NoReturn:
    """End the command with an error as one line."""
    details = f": {in_one_line(error.details)}" if error.details else ""
    errors.print(Text.assemble((error.title, "bold red"), details), soft_wrap=True)
    raise typer.Exit(1) from error


def show(table: Table) -> None:
    """Print a table: as wide as the terminal; where there is none, with each row in one line, however long."""
    if console.is_terminal:
        console.print(table)
        return
    page = Console(markup=False, width=_WIDEST)
    with page.capture() as captured:
        page.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def show_json(content: object) -> None:
    """Print one JSON document and a line's end, in UTF-8 wherever it goes."""
    typer.echo(to_json(content))


class Rate(ProgressColumn):
    """Things per second, lately."""

    def render(self, task: Task) -> Text:
        """What the column shows."""
        return Text(f"{task.speed or 0:,.0f}/s")


@contextmanager
def progress_bar(total: int, done: Callable[[], int]) -> Iterator[None]:
    """Show at a terminal how much is stored, how fast, and the time left, while asynchronous work runs in the block.

    Args:
        total: How much there is to store.
        done: Tells how much of it is stored.
    """
    columns = (TextColumn("Storing"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        showing = asyncio.create_task(_show(progress, total, done))
        try:
            yield
        finally:
            showing.cancel()


async def _show(progress: Progress, total: int, done: Callable[[], int]) -> None:
    bar = progress.add_task("", total=total)
    while True:
        progress.update(bar, completed=done())
        await asyncio.sleep(0.2)
