"""``python -m app import-rates``: stores a history of exchange rates."""

import asyncio
import shlex
import time
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from app.cli import terminal
from app.cli.terminal import errors
from app.core.config.settings import Settings
from app.core.errors import AppError
from app.rates.history import Tally, compare_with_stored, find_missing, own_turn, store_history
from app.sources.ecb_file import check_history, read_history
from app.sources.ecb_lines import SUFFIXES, UnusableFile


def _file(value: Path) -> Path:
    # A regular file, because it is read more than once.
    if not value.is_file():
        raise typer.BadParameter("there is no such file")
    if value.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(f"must be a file whose name ends in {' or '.join(SUFFIXES)}")
    return value


def import_rates(
    *,
    file: Annotated[
        Path,
        typer.Option(
            callback=_file,
            help="File of the European Central Bank, .csv or .zip: eurofxref, eurofxref-hist, or its data portal's.",
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Accept rates that changed more than tenfold.")] = False,
) -> None:
    """Store past days' exchange rates from a file, without a running server; stored rates are skipped."""
    settings, tally = terminal.read_settings(), Tally()

    def hint(error: AppError | None) -> str:
        again = ["python", "-m", "app", "import-rates", "--file", str(file), *(["--force"] if force else [])]
        is_useful = tally.done or error is None
        return f"{tally.done} rate(s) stored. Resume with: {shlex.join(again)}" if is_useful else ""

    with terminal.errors_in_one_line(hint):
        try:
            today = datetime.now(UTC).date()
            with errors().status("Reading the file ..."):
                sizes = check_history(file, today=today, force=force)
            terminal.bring_up_to_date(settings)
            started = time.monotonic()
            asyncio.run(_import(settings, file, tally, today=today, force=force))
        except UnusableFile as error:
            error.details = f"{file.name}: {error}"
            raise
    seconds = time.monotonic() - started
    terminal.show_fields(
        [
            ("Days", f"{len(sizes)} ({len(tally.sizes)} stored, {tally.known} already there)"),
            ("Rates", f"{tally.done} stored"),
            ("From, to", f"{min(sizes)}, {max(sizes)}"),
            ("Took", f"{seconds:.1f} s, {tally.done / seconds:.0f} rates/s"),
        ]
    )


async def _import(settings: Settings, file: Path, tally: Tally, *, today: date, force: bool) -> None:
    async with terminal.open_database(settings) as database, AsyncExitStack() as stack:
        with errors().status("Waiting for other imports ..."):
            lease = await stack.enter_async_context(own_turn(database))
        stored = await find_missing(database, read_history(file, today=today), tally)
        if not force:
            await compare_with_stored(database, read_history(file, today=today), tally.sizes, stored)
        if tally.sizes:
            with terminal.progress_bar(tally.total, lambda: tally.done):
                await store_history(database, lease, file, tally, today=today)
