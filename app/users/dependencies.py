"""FastAPI dependencies of the routes of accounts."""

from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Header, Request
from pydantic import WithJsonSchema

from app.core.http.access import Principal, get_account_id, get_principal
from app.users.passwords import Passwords
from app.users.throttle import SignInThrottle


async def get_passwords(request: Request) -> Passwords:
    """Return the application's password hasher."""
    passwords: Passwords = request.state.passwords
    return passwords


async def get_throttle(request: Request) -> SignInThrottle:
    """Return the application's throttle of sign-in attempts."""
    throttle: SignInThrottle = request.state.sign_in_throttle
    return throttle


async def get_token_lifetime(request: Request) -> timedelta:
    """Return the lifetime of sign-in tokens."""
    lifetime: timedelta = request.state.token_lifetime
    return lifetime


_IfMatchHeader = Annotated[
    list[str] | None,
    Header(alias="If-Match", description="Make the change only if the current `ETag` is one of these."),
    # In OpenAPI a string: client generators refuse a list in a header.
    WithJsonSchema({"type": "string"}),
]


async def get_if_match(if_match: _IfMatchHeader = None) -> str | None:
    """Return the header, repeated ones joined by commas (RFC 9110, 5.3); None without one."""
    return None if if_match is None else ", ".join(if_match)


PasswordsDep = Annotated[Passwords, Depends(get_passwords)]
ThrottleDep = Annotated[SignInThrottle, Depends(get_throttle)]
TokenLifetimeDep = Annotated[timedelta, Depends(get_token_lifetime)]
PrincipalDep = Annotated[Principal, Depends(get_principal)]
AccountIdDep = Annotated[int, Depends(get_account_id)]
IfMatchDep = Annotated[str | None, Depends(get_if_match)]
