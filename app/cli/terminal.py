"""What the commands share: terminal, settings, database, and errors as one line."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from loguru import logger
from pydantic_core import to_json

from app.core.config.database_url import normalize_database_url
from app.core.config.settings import Settings, load_settings
from app.core.db import migrations
from app.core.db.database import Database
from app.core.db.dialects import Dialect, dialect_for
from app.core.db.faults import reason_of
from app.core.errors import AppError, DatabaseUnavailable, in_one_line
from app.core.http.access import ACTOR, Principal, Role
from app.core.telemetry.log import configure_logging, hiding

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

T = TypeVar("T")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def examples(*lines: str) -> str:
    """The examples at the end of a command's help, one per line; a bracket would open markup."""
    return "Examples:\n" + "\n".join(f"  {line}" for line in lines).replace("[", r"\[")


@cache
def console(*, stderr: bool = False, width: int | None = None) -> "Console":
    """Standard output or standard error; names from sources and of files are printed as they are, without markup."""
    from rich.console import Console  # noqa: PLC0415  # rich takes 20 ms and 2 MB of a start of the service

    return Console(stderr=stderr, width=width, markup=False, emoji=False)


errors = partial(console, stderr=True)


def read_settings(**overrides: object) -> Settings:
    """Read the settings and set up logging; a wrong setting ends the command."""
    settings = load_settings(**overrides)
    configure_logging(settings)
    return settings


def read_settings_without_log() -> Settings:
    """The same for commands that only read: their errors are printed once, not logged as well."""
    settings = read_settings()
    logger.remove()
    return settings


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Database]:
    """The database for one command; audit entries name the command line as the actor."""
    ACTOR.set(Principal("command line", Role.ADMIN))
    database = Database(settings)
    try:
        yield database
    finally:
        await database.close()


def bring_up_to_date(settings: Settings) -> None:
    """Bring the database schema up to date; a failure ends the command with one line that says what to do."""
    try:
        migrations.migrate(settings)
    except DatabaseUnavailable as error:
        dialect = dialect_for(normalize_database_url(settings.database_url.get_secret_value()))
        error.details = hiding(settings.secrets)(f"{reason_of(error)}; {advice_for(dialect, error)}")
        fail(error)
    except migrations.MigrationFailed as error:
        fail(error)


def advice_for(dialect: Dialect, error: Exception) -> str:
    """What an operator can do about an error of the database."""
    fault = error.__cause__ if isinstance(error, DatabaseUnavailable) and error.__cause__ else error
    return dialect.advice(fault) or "start the database, or correct DATABASE_URL"


def run(work: Coroutine[Any, Any, T], *, doing: str = "") -> T:
    """Run asynchronous work, with a spinner if ``doing`` names it; an error ends the command."""
    with errors_in_one_line():
        return asyncio.run(_with_spinner(work, doing) if doing else work)


async def _with_spinner(work: Coroutine[Any, Any, T], doing: str) -> T:
    started, task = time.monotonic(), asyncio.ensure_future(work)
    with errors().status(f"{doing} ...") as status:
        while not (await asyncio.wait([task], timeout=0.2))[0]:
            status.update(f"{doing} ... {time.monotonic() - started:.0f} s")
    return task.result()


def fail(error: AppError | None, hint: str = "") -> NoReturn:
    """End the command with an error as one line, and exit code 1.

    Args:
        error: None means that the user pressed Ctrl+C; the exit code is then 130.
        hint: A second line, such as the command that resumes; empty prints none.
    """
    from rich.text import Text  # noqa: PLC0415

    title, details = (error.title, error.details) if error else ("Interrupted", None)
    text = Text.assemble((title, "bold red"), f": {in_one_line(details)}" if details else "")
    for line in (text, hint) if hint else (text,):
        errors().print(line, soft_wrap=True)
    raise typer.Exit(1 if error else 130) from error


@contextmanager
def errors_in_one_line(hint: Callable[[AppError | None], str] = lambda _: "") -> Iterator[None]:
    """End the command with one line if the block raises an AppError or is interrupted; see ``fail()``."""
    try:
        yield
    except AppError as error:
        fail(error, hint(error))
    except KeyboardInterrupt:
        fail(None, hint(None))


def new_table(*headings: str, **options: Any) -> "Table":
    """A table without lines."""
    from rich.table import Table  # noqa: PLC0415

    return Table(*headings, box=None, **options)


def show(table: "Table") -> None:
    """Print a table: as wide as the terminal; elsewhere each row in one line, however long."""
    if console().is_terminal:
        console().print(table)
        return
    page = console(width=1000)
    with page.capture() as captured:
        page.print(table)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def show_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    table = new_table(show_header=False)
    for name, value in fields:
        table.add_row(name, value)
    show(table)


def show_json(content: object) -> None:
    """Print one JSON document and a newline, always in UTF-8."""
    typer.echo(to_json(content))


@contextmanager
def progress_bar(total: int, done: Callable[[], int]) -> Iterator[None]:
    """Show how many items of ``total`` are ``done()`` while asynchronous work runs in the block."""
    from rich import progress  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    class Speed(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            return Text(f"{task.speed or 0:,.0f}/s")

    columns = "Storing", progress.BarColumn(), progress.MofNCompleteColumn(), Speed(), progress.TimeRemainingColumn()
    with progress.Progress(*columns, console=errors(), transient=True, disable=not errors().is_terminal) as bar:
        task = bar.add_task("", total=total)

        async def update() -> None:
            while True:
                bar.update(task, completed=done())
                await asyncio.sleep(0.2)

        updates = asyncio.create_task(update())
        try:
            yield
        finally:
            updates.cancel()
