"""The command line: ``python -m app``."""

import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Final

import typer
import uvicorn
from pydantic import SecretStr, ValidationError
from rich.table import Table

from app import __version__
from app.cli import countries as countries_cli
from app.cli.announcement import announce_when_open
from app.cli.doctor.command import doctor
from app.cli.import_rates import import_rates
from app.cli.sms_batch.command import sms_batch
from app.cli.terminal import (
    COMMAND_LINE,
    JsonOption,
    bring_up_to_date,
    console,
    examples,
    fail,
    read_settings,
    run,
    show,
    show_json,
)
from app.core.config.settings import Settings
from app.core.db.database import Database
from app.core.errors import ValidationFailed
from app.core.http.access import ACTOR, Role
from app.core.http.middleware.head_limit import BoundedHead
from app.core.http.problems import describe_invalid
from app.refresh.crud import Refresher
from app.refresh.schemas import RefreshResult
from app.sources.client import create_http_client
from app.users.crud import create_user
from app.users.passwords import Passwords
from app.users.schemas import UserCreate, UserPublic

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
    help=f"Country Data & Currency Exchange API {__version__}. Settings come from the environment and from .env.",
    epilog=_FIRST_MINUTE,
    no_args_is_help=True,
    # It goes by the name of the program: scripts/app has one, `python -m app` has not.
    add_completion=Path(sys.argv[0]).name == "app",
    pretty_exceptions_enable=False,
)


@cli.callback()
def _prepare() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8")  # names of countries have letters that no smaller encoding has


cli.add_typer(countries_cli.commands, name="countries", help="List and show stored countries.", rich_help_panel=_DATA)
cli.command("export", rich_help_panel=_DATA, epilog=countries_cli.EXPORT_EXAMPLES)(countries_cli.export)
cli.command(
    "import-rates", rich_help_panel=_DATA, epilog=examples("python -m app import-rates --file eurofxref-hist.zip")
)(import_rates)
cli.command("doctor", rich_help_panel=_SERVICE, epilog=examples("python -m app doctor", "python -m app doctor --json"))(
    doctor
)
cli.command(
    "sms-batch",
    rich_help_panel=_BATCHES,
    epilog=examples("python -m app sms-batch --file messages.csv", "python -m app sms-batch --count 10000"),
)(sms_batch)


@cli.command(
    rich_help_panel=_SERVICE, epilog=examples("python -m app serve", "PORT=9000 WEB_CONCURRENCY=4 python -m app serve")
)
def serve() -> None:
    """Bring the database up to date, then serve on HOST and PORT with WEB_CONCURRENCY processes."""
    settings = read_settings()
    # As the first process of a container it would not hear SIGTERM while it waits for the database.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    bring_up_to_date(settings)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # from here on uvicorn listens
    if settings.environment == "development" and settings.log_format == "console":
        announce_when_open()
    uvicorn.run(
        "app.main:app",
        host=settings.host,
        port=settings.port,
        http=BoundedHead,
        workers=settings.web_concurrency,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # TRUSTED_PROXIES says whom the application itself believes
        # Longer than the idle time of the proxies in front (Railway: 60 s), so that they close first.
        timeout_keep_alive=65,
        # What follows it must be over within ten seconds of the signal, also on a busy machine.
        timeout_graceful_shutdown=6,
    )


@cli.command(rich_help_panel=_SERVICE, epilog=examples("python -m app migrate"))
def migrate() -> None:
    """Bring the database schema up to date. Safe to run in several processes at once."""
    bring_up_to_date(read_settings())
    console.print("The database schema is up to date.")


@cli.command(
    rich_help_panel=_DATA,
    epilog=examples(
        "python -m app refresh",
        "python -m app refresh --source bundled",
        "python -m app refresh --rates https://open.er-api.com/v6/latest/USD --json",
    ),
)
def refresh(
    *,
    source: Annotated[
        str | None, typer.Option(help="Take countries and rates from this source, such as bundled.")
    ] = None,
    countries: Annotated[str | None, typer.Option(metavar="URL", help="Take the countries from this address.")] = None,
    rates: Annotated[str | None, typer.Option(metavar="URL", help="Take the rates from this address.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Believe rates that moved more than tenfold.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Refresh the stored countries and rates, without a running server."""
    chosen = {"country_sources": countries or source, "rate_sources": rates or source}
    settings = read_settings(**{name: value for name, value in chosen.items() if value is not None})
    bring_up_to_date(settings)
    result = run(lambda: _refresh(settings, force=force), doing="Fetching countries and rates")
    if as_json:
        show_json(result)
    else:
        _show_result(result)


async def _refresh(settings: Settings, *, force: bool) -> RefreshResult:
    database = Database(settings)
    ACTOR.set(COMMAND_LINE)
    try:
        async with create_http_client() as http:
            refresher = Refresher(database, http, settings)
            try:
                return await refresher.refresh(refresher.order(force=force))
            finally:
                await refresher.close()
    finally:
        await database.close()


def _show_result(result: RefreshResult) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("Countries", f"{result.total_countries} ({result.inserted} new, {result.updated} updated)")
    table.add_row("Sources", f"countries from {result.sources.countries}, rates from {result.sources.rates}")
    table.add_row("Rates of", str(result.rates_date))
    table.add_row("Took", f"{result.duration_ms} ms")
    for skipped in result.skipped:
        table.add_row("Skipped", f"{skipped.name}: {skipped.reason}")
    show(table)


@cli.command(
    "create-admin",
    rich_help_panel=_SERVICE,
    epilog=examples(
        "python -m app create-admin grace@example.com --fname Grace --lname Owusu",
        "python -m app create-admin grace@example.com < password.txt",
    ),
)
def create_admin(
    email: Annotated[str, typer.Argument(help="E-mail address to sign in with.")],
    *,
    fname: Annotated[str, typer.Option(help="First name.")] = "Admin",
    lname: Annotated[str, typer.Option(help="Last name.")] = "Admin",
) -> None:
    """Create an account that may do everything. The password is asked for, or read from standard input."""
    if sys.stdin.isatty():
        password = typer.prompt("Password, 12 to 128 characters", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        given = UserCreate(fname=fname, lname=lname, email=email, password=SecretStr(password), role=Role.ADMIN)
    except ValidationError as error:
        fail(ValidationFailed(describe_invalid(error, what="option")))
    settings = read_settings()
    bring_up_to_date(settings)
    user = run(lambda: _create_user(settings, given), doing="Creating the account")
    console.print(f"User {user.id} created: {user.email}, {user.role}", soft_wrap=True)


async def _create_user(settings: Settings, given: UserCreate) -> UserPublic:
    database, passwords = Database(settings), Passwords()
    ACTOR.set(COMMAND_LINE)
    try:
        return await create_user(database, passwords, given)
    finally:
        passwords.close()
        await database.close()


@cli.command(
    "show-config",
    rich_help_panel=_SERVICE,
    epilog=examples("python -m app show-config", "python -m app show-config --json"),
)
def show_config(*, as_json: JsonOption = False) -> None:
    """Show every setting as the service sees it, secrets masked."""
    masked = {name.upper(): value for name, value in read_settings().masked().items()}
    if as_json:
        show_json(masked)
        return
    table = Table("setting", "value", box=None)
    for name, value in masked.items():
        table.add_row(name, value)
    show(table)


if __name__ == "__main__":
    cli()
