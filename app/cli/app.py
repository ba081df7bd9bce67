"""The command line: all commands, in the order of the help."""

import gc
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final

import typer

from app import TITLE, __version__
from app.cli import countries
from app.cli.doctor.command import doctor
from app.cli.import_rates import import_rates
from app.cli.refresh import refresh
from app.cli.service import create_admin, migrate, serve, show_config
from app.cli.sms_batch.command import sms_batch
from app.cli.terminal import examples

_FIRST_MINUTE: Final = """The first minute:
  python -m app refresh                          fetches countries and rates
  python -m app countries list --sort gdp_desc   shows them
  python -m app export --output countries.csv    for a spreadsheet
  python -m app serve                            for a browser and programs
  python -m app doctor                           where something does not work

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Each command has its own --help."""
_DATA, _SERVICE, _BATCHES = "Countries and rates", "The service", "Batches of SMS"

cli = typer.Typer(
    name="app",
    help=f"{TITLE} {__version__}. Settings come from the environment and from .env.",
    epilog=_FIRST_MINUTE,
    no_args_is_help=True,
    # Completion is bound to the name of the program: scripts/app has one, `python -m app` has not.
    add_completion=Path(sys.argv[0]).name == "app",
    pretty_exceptions_enable=False,
)


@cli.callback()
def _prepare() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")  # names of countries contain letters outside ASCII
    # As for the service: each full collection would visit all modules, a third of the time of a long batch.
    gc.freeze()


def _add(panel: str, command: Callable[..., Any], *example_lines: str) -> None:
    """Add a command under the name of its function."""
    cli.command(rich_help_panel=panel, epilog=examples(*example_lines))(command)


cli.add_typer(countries.commands, name="countries", help="List and show stored countries.", rich_help_panel=_DATA)
_add(
    _DATA,
    refresh,
    "python -m app refresh",
    "python -m app refresh --source bundled",
    "python -m app refresh --rates https://api.frankfurter.dev/v1/latest --json",
)
_add(
    _DATA,
    countries.export,
    "python -m app export --output countries.csv",
    'python -m app export --format ndjson | grep \'"region":"Europe"\'',
    "python -m app export --format json --fields name,population --sort population_desc",
)
_add(_DATA, import_rates, "python -m app import-rates --file eurofxref-hist.zip")
_add(_SERVICE, serve, "python -m app serve", "PORT=9000 WEB_CONCURRENCY=4 python -m app serve")
_add(_SERVICE, migrate, "python -m app migrate")
_add(_SERVICE, doctor, "python -m app doctor", "python -m app doctor --json")
_add(
    _SERVICE,
    create_admin,
    "python -m app create-admin grace@example.com --fname Grace --lname Owusu",
    "python -m app create-admin grace@example.com < password.txt",
)
_add(_SERVICE, show_config, "python -m app show-config", "python -m app show-config --json")
_add(_BATCHES, sms_batch, "python -m app sms-batch --file messages.csv", "python -m app sms-batch --count 10000")
