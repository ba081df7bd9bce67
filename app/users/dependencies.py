"""FastAPI dependencies of the routes of accounts."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from pydantic import WithJsonSchema

from app.core.http.access import Principal, get_account_id, get_principal
from app.core.http.middleware.credential_lookups import CredentialLookups
from app.core.http.middleware.rate_limits import RateLimits
from app.users.passwords import Passwords


def _from_state(name: str) -> Any:
    async def get(request: Request) -> Any:
        return getattr(request.state, name)

    return Depends(get)


_IfMatchHeader = Annotated[
    list[str] | None,
    Header(alias="If-Match", description="Make the change only if the current `ETag` is one of these."),
    # In OpenAPI a string: client generators refuse a list in a header.
    WithJsonSchema({"type": "string"}),
]


async def get_if_match(if_match: _IfMatchHeader = None) -> str | None:
    """Return the header, repeated ones joined by commas (RFC 9110, 5.3); None without one."""
    return None if if_match is None else ", ".join(if_match)


PasswordsDep = Annotated[Passwords, _from_state("passwords")]
RateLimitsDep = Annotated[RateLimits, _from_state("rate_limits")]
CredentialLookupsDep = Annotated[CredentialLookups, _from_state("credential_lookups")]
TokenLifetimeDep = Annotated[timedelta, _from_state("token_lifetime")]
PrincipalDep = Annotated[Principal, Depends(get_principal)]
AccountIdDep = Annotated[int, Depends(get_account_id)]
IfMatchDep = Annotated[str | None, Depends(get_if_match)]
