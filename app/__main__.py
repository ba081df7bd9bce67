"""The command line: ``python -m app``."""

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, NoReturn, TypeVar

import typer
import uvicorn
from alembic.util import CommandError
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app import __version__
from app.access import ACTOR, Principal, Role
from app.config import Settings, load_settings
from app.countries.refresh import Refresher
from app.countries.schemas import RefreshResult
from app.database import Database
from app.errors import AppError, ValidationFailed, describe_invalid, in_one_line
from app.log import configure_logging
from app.migrations import migrate as run_migrations
from app.tracking.cli import sms_batch
from app.upstream import create_http_client
from app.users.crud import create_user
from app.users.passwords import Passwords
from app.users.schemas import UserCreate, UserPublic

T = TypeVar("T")

COMMAND_LINE = Principal("command line", Role.ADMIN)

cli = typer.Typer(
    name="app",
    help=f"Country Data & Currency Exchange API {__version__}. Settings come from the environment and from .env.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# Names from sources are shown as they are: no markup.
console = Console(markup=False)
errors = Console(stderr=True, markup=False)

cli.command("sms-batch")(sms_batch)


@cli.command()
def serve() -> None:
    """Bring the database up to date, then serve on HOST and PORT with WEB_CONCURRENCY processes."""
    settings = _settings()
    # As the first process of a container it would not hear SIGTERM while it waits for the database.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _migrate(settings)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # from here on uvicorn listens
    if settings.environment == "development" and settings.log_format == "console":
        shown = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104  # compared, not bound
        errors.print(f"Open http://{shown}:{settings.port}/ or http://{shown}:{settings.port}/docs")
    uvicorn.run(
        "app.main:app",
        host=settings.host,
        port=settings.port,
        workers=settings.web_concurrency,
        log_config=None,
        access_log=False,
        server_header=False,
        # Longer than the idle time of the proxies in front (Railway: 60 s), so that they close first.
        timeout_keep_alive=65,
        timeout_graceful_shutdown=8,
    )


@cli.command()
def migrate() -> None:
    """Bring the database schema up to date. Safe to run in several processes at once."""
    _migrate(_settings())
    console.print("The database schema is up to date.")


@cli.command()
def refresh(
    *,
    source: Annotated[
        str | None, typer.Option(help="Take countries and rates from this source, such as bundled.")
    ] = None,
    countries: Annotated[str | None, typer.Option(metavar="URL", help="Take the countries from this address.")] = None,
    rates: Annotated[str | None, typer.Option(metavar="URL", help="Take the rates from this address.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Believe rates that moved more than tenfold.")] = False,
) -> None:
    """Refresh the stored countries and rates, without a running server."""
    chosen = {"country_sources": countries or source, "rate_sources": rates or source}
    settings = _settings(**{name: value for name, value in chosen.items() if value is not None})
    _migrate(settings)
    _show_result(_run(lambda: _refresh(settings, force=force), doing="Fetching countries and rates"))


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
    console.print(table)


@cli.command("create-admin")
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
        _fail(ValidationFailed(describe_invalid(error, what="option")))
    settings = _settings()
    _migrate(settings)
    user = _run(lambda: _create_user(settings, given), doing="Creating the account")
    console.print(f"User {user.id} created: {user.email}, {user.role}", soft_wrap=True)


async def _create_user(settings: Settings, given: UserCreate) -> UserPublic:
    database, passwords = Database(settings), Passwords()
    ACTOR.set(COMMAND_LINE)
    try:
        return await create_user(database, passwords, given)
    finally:
        passwords.close()
        await database.close()


@cli.command("show-config")
def show_config() -> None:
    """Show every setting as the service sees it, secrets masked."""
    settings = _settings()
    table = Table("setting", "value", box=None)
    for name, value in settings.masked().items():
        table.add_row(name.upper(), value)
    console.print(table)


def _settings(**overrides: object) -> Settings:
    settings = load_settings(**overrides)
    configure_logging(settings)
    return settings


def _migrate(settings: Settings) -> None:
    try:
        run_migrations(settings)
    except AppError as error:
        _fail(error)
    except CommandError as error:  # such as a database that a newer version of the service has migrated
        errors.print(f"Migration failed: {error}", soft_wrap=True)
        raise typer.Exit(1) from error


def _run(work: Callable[[], Awaitable[T]], *, doing: str) -> T:
    """Run asynchronous work with a spinner and the seconds so far."""
    try:
        return asyncio.run(_with_progress(work, doing))
    except AppError as error:
        _fail(error)


async def _with_progress(work: Callable[[], Awaitable[T]], doing: str) -> T:
    started = time.monotonic()
    task = asyncio.ensure_future(work())
    with errors.status(f"{doing} ...") as status:
        while not (await asyncio.wait([task], timeout=0.2))[0]:
            status.update(f"{doing} ... {time.monotonic() - started:.0f} s")
    return task.result()


def _fail(error: AppError) -> NoReturn:
    details = f": {in_one_line(error.details)}" if error.details else ""
    errors.print(Text.assemble((error.title, "bold red"), details), soft_wrap=True)
    raise typer.Exit(1) from error


if __name__ == "__main__":
    cli()
