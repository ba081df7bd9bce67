"""The commands that run the service: ``python -m app serve``, ``migrate``, ``create-admin`` and ``show-config``."""

import signal
import socket
import sys
from contextlib import suppress
from typing import Annotated, Final

import typer
import uvicorn
from pydantic import SecretStr, ValidationError
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from app.cli import terminal
from app.cli.terminal import JsonOption, bring_up_to_date, console, read_settings
from app.core.config.addresses import is_loopback
from app.core.config.settings import Settings
from app.core.errors import ValidationFailed
from app.core.http.access import Role
from app.core.http.connection import Connection
from app.core.http.descriptors import raise_limit
from app.core.problems import describe_invalid
from app.users.crud import create_user
from app.users.passwords import Passwords
from app.users.schemas import UserCreate, UserPublic

_LOCAL_ADDRESSES: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound
"""What to open in a browser where the server listens on all addresses."""


def serve() -> None:
    """Bring the database up to date, then serve on HOST and PORT with WEB_CONCURRENCY processes."""
    settings = read_settings()
    if settings.admin_api_key is None and settings.allow_anonymous is None and not is_loopback(settings.host):
        sys.exit(
            f"Without ADMIN_API_KEY the service does not listen on HOST {settings.host}, which other machines can "
            "reach: set ADMIN_API_KEY (openssl rand -hex 32 creates one), or ALLOW_ANONYMOUS to what anyone may do"
        )
    # The first process of a container ignores SIGTERM unless it has a handler, also while it waits for the database.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    bring_up_to_date(settings)
    raise_limit()
    config = uvicorn.Config(
        "app.main:app",
        host=settings.host,
        port=settings.port,
        http=Connection,
        ws="none",
        workers=settings.web_concurrency,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # TRUSTED_PROXIES decides in the application which proxies are trusted
        # Longer than the idle time of the proxies in front (Railway: 60 s), so that they close first.
        timeout_keep_alive=65,
        # The rest of the shutdown must fit into the ten seconds after SIGTERM, even on a busy machine.
        timeout_graceful_shutdown=6,
    )
    _run(config, is_announced=settings.environment == "development" and settings.log_format == "console")


def _run(config: uvicorn.Config, *, is_announced: bool) -> None:
    """Serve as ``uvicorn.run()`` does, and print the addresses if wanted."""
    if config.workers > 1:
        bound = config.bind_socket()
        if is_announced:  # no worker listens yet, but the port is ours
            _print_addresses(config.host, bound)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # uvicorn installs its own handler
        Multiprocess(config, sockets=[bound]).run()
        return
    server = _AnnouncedServer(config) if is_announced else uvicorn.Server(config)
    config.load_app()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as above
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class _AnnouncedServer(uvicorn.Server):
    """Prints the addresses as soon as they can be opened."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _print_addresses(self.config.host, self.servers[0].sockets[0])


def _print_addresses(host: str, bound: socket.socket) -> None:
    """Print where a browser finds the page and the documentation."""
    shown, port = _LOCAL_ADDRESSES.get(host, host), bound.getsockname()[1]
    address = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    page, docs = f"{address}/", f"{address}/docs"
    typer.echo(f"\nOpen  {page:<{len(docs)}}  the countries\n      {docs}  the API, to try out\n", err=True)


def migrate() -> None:
    """Bring the database schema up to date. Safe to run in several processes at once."""
    bring_up_to_date(read_settings())
    console().print("The database schema is up to date.")


def create_admin(
    email: Annotated[str, typer.Argument(help="Email address to sign in with.")],
    *,
    fname: Annotated[str, typer.Option(help="First name.")] = "Admin",
    lname: Annotated[str, typer.Option(help="Last name.")] = "Admin",
) -> None:
    """Create an admin account. Asks for the password, or reads it from standard input."""
    if sys.stdin.isatty():
        password = typer.prompt("Password, 12 to 128 characters", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        admin = UserCreate(fname=fname, lname=lname, email=email, password=SecretStr(password), role=Role.ADMIN)
    except ValidationError as error:
        terminal.fail(ValidationFailed(describe_invalid(error, what="option")))
    settings = read_settings()
    bring_up_to_date(settings)
    user = terminal.run(_create(settings, admin), doing="Creating the account")
    console().print(f"User {user.id} created: {user.email}, {user.role}", soft_wrap=True)


async def _create(settings: Settings, admin: UserCreate) -> UserPublic:
    passwords = Passwords()
    try:
        async with terminal.open_database(settings) as database:
            return await create_user(database, passwords, admin)
    finally:
        passwords.close()


def show_config(*, as_json: JsonOption = False) -> None:
    """Show every setting as the service sees it, secrets masked."""
    masked = {name.upper(): value for name, value in read_settings().masked().items()}
    if as_json:
        terminal.show_json(masked)
        return
    table = terminal.new_table("setting", "value")
    for name, value in masked.items():
        table.add_row(name, value)
    terminal.show(table)
