"""The command that stores a history of rates: ``python -m app import-rates``."""

import asyncio
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from app.cli.terminal import COMMAND_LINE, bring_up_to_date, console, errors, progress_bar, read_settings
from app.core.config.settings import Settings
from app.core.db.database import Database
from app.core.errors import AppError
from app.core.http.access import ACTOR
from app.core.http.problems import in_one_line
from app.rates.history import Tally, compare_with_stored, find_new_days, own_turn, store_history
from app.sources.ecb_file import SUFFIXES, UnusableFile, check_history, read_history


def _file(value: Path) -> Path:
    # It is read more than once, which a pipe does not allow.
    if value.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"must be a file whose name ends in {' or '.join(SUFFIXES)}")
    if not value.is_file():
        raise typer.BadParameter("there is no such file")
    return value


def import_rates(
    *,
    file: Annotated[
        Path,
        typer.Option(callback=_file, help="History of the European Central Bank: eurofxref-hist, .csv or .zip."),
    ],
    force: Annotated[bool, typer.Option("--force", help="Believe rates that moved more than tenfold.")] = False,
) -> None:
    """Store past days' exchange rates from a file, without a running server; stored days are left out."""
    settings = read_settings()
    tally = Tally()
    with _explained(file, tally, force=force):
        today = datetime.now(UTC).date()
        with errors.status("Reading the file ..."):
            sizes = check_history(file, today=today, force=force)
        bring_up_to_date(settings)
        started = time.monotonic()
        asyncio.run(_import(settings, file, sizes, tally, today=today, force=force))
        _show_summary(tally, sizes, time.monotonic() - started)


async def _import(
    settings: Settings, file: Path, sizes: Mapping[date, int], tally: Tally, *, today: date, force: bool
) -> None:
    database = Database(settings)
    ACTOR.set(COMMAND_LINE)
    try:
        async with AsyncExitStack() as stack:
            with errors.status("Waiting for its turn ..."):
                lease = await stack.enter_async_context(own_turn(database))
            stored = await find_new_days(database, sizes, tally)
            if not force:
                await compare_with_stored(database, read_history(file, today=today), tally.sizes, stored)
            if tally.sizes:
                with progress_bar(tally.total, lambda: tally.done):
                    await store_history(database, lease, file, tally, today=today)
    finally:
        await database.close()


@contextmanager
def _explained(file: Path, tally: Tally, *, force: bool) -> Iterator[None]:
    """Turn what can go wrong into a line, the command that goes on, and an exit code."""
    title, why, code = "", "", 1
    try:
        yield
    except UnusableFile as error:
        title, why = "Unusable file", f": {file.name}: {error}"
    except AppError as error:
        title, why = error.title, f": {in_one_line(error.details)}" if error.details else ""
    except KeyboardInterrupt:
        title, code = "Interrupted", 130
    if title:
        errors.print(Text.assemble((title, "bold red"), why), soft_wrap=True)
        if tally.done or code == 130:
            again = ["python", "-m", "app", "import-rates", "--file", str(file), *(["--force"] if force else [])]
            errors.print(f"{tally.done} rate(s) stored. Go on with: {shlex.join(again)}", soft_wrap=True)
        raise typer.Exit(code)


def _show_summary(tally: Tally, sizes: Mapping[date, int], seconds: float) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("Days", f"{len(sizes)} ({len(tally.sizes)} stored, {tally.known} there before)")
    table.add_row("Rates", f"{tally.done} stored")
    table.add_row("From, to", f"{min(sizes)}, {max(sizes)}")
    table.add_row("Took", f"{seconds:.1f} s, {tally.done / seconds:.0f} rates/s")
    console.print(table)
