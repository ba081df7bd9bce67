"""``python -m app create-admin``."""

import sys
from typing import Annotated

import typer
from pydantic import SecretStr, ValidationError

from app.cli.terminal import bring_up_to_date, console, fail, open_database, read_settings, run
from app.core.config.settings import Settings
from app.core.errors import ValidationFailed
from app.core.http.access import Role
from app.core.http.problems import describe_invalid
from app.users.crud import create_user
from app.users.passwords import Passwords
from app.users.schemas import UserCreate, UserPublic


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
        fail(ValidationFailed(describe_invalid(error, what="option")))
    settings = read_settings()
    bring_up_to_date(settings)
    user = run(_create(settings, admin), doing="Creating the account")
    console.print(f"User {user.id} created: {user.email}, {user.role}", soft_wrap=True)


async def _create(settings: Settings, admin: UserCreate) -> UserPublic:
    passwords = Passwords()
    try:
        async with open_database(settings) as database:
            return await create_user(database, passwords, admin)
    finally:
        passwords.close()
