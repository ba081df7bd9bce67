"""Access: roles, the rules of the routes, and the principal who acts."""

from collections.abc import Collection, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from starlette.requests import Request

from app.core.config.settings import AllowAnonymous
from app.core.errors import AppError

CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})
"""Names of the headers that carry them."""


class Role(StrEnum):
    """What an account may do; each role includes the ones before it."""

    READER = "reader"
    EDITOR = "editor"
    ADMIN = "admin"

    def includes(self, other: "Role") -> bool:
        """Whether this role may do everything that the other one may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)


class Rule(StrEnum):
    """Who may call a route; the values appear in the documentation and in refusals."""

    EVERYONE = "everyone"
    READER = "reader"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "admin, or the account itself"
    """The account whose id is ``user_id`` in the path."""
    ACCOUNT = "any signed-in account"
    """ADMIN_API_KEY belongs to no account."""


class KeyScope(StrEnum):
    """What an API key may do, within the role of its account."""

    READ = "read"
    """Every GET."""
    REFRESH = "refresh"
    """Refresh and delete countries."""
    TRACKING = "tracking"
    """Change transfers and documents."""


@dataclass(frozen=True)
class Principal:
    """The account, key or process that acts."""

    name: str
    """E-mail address of an account; else ``ADMIN_API_KEY``, ``anybody`` or ``service``."""
    role: Role
    user_id: int | None = None
    """None without an account."""
    credential_id: int | None = None
    """The token or key it showed; None without an account."""
    scopes: frozenset[KeyScope] | None = None
    """Of the API key it showed; None where nothing but the role limits it, as with a token."""


OPERATOR: Final = Principal("ADMIN_API_KEY", Role.ADMIN)
ANYBODY: Final = Principal("anybody", Role.ADMIN)
"""A caller without a credential, where none is needed: see ``anonymous.py``."""
SERVICE: Final = Principal("service", Role.ADMIN)
"""The service itself, as in a scheduled refresh."""

ACTOR: Final[ContextVar[Principal]] = ContextVar("actor", default=SERVICE)
"""The principal of the current request or task, for the audit trail."""


class Forbidden(AppError):
    """The caller is not allowed to do this."""

    status_code = 403
    title = "Forbidden"


class Access(NamedTuple):
    """Who may call a route."""

    rule: Rule
    scope: KeyScope | None = None
    """Scope that an API key needs; None if the route accepts no API key."""
    opened_by: AllowAnonymous = AllowAnonymous.ALL
    """The least ALLOW_ANONYMOUS that opens the route to everybody."""

    @classmethod
    def read(cls, extra: Mapping[str, Any], methods: Collection[str]) -> "Access":
        """Read it from ``openapi_extra``; a route without a rule is for admins, and accepts no API key."""
        rule = Rule(extra.get("x-access", Rule.ADMIN))
        if rule is Rule.EVERYONE:
            return cls(rule)
        scope = KeyScope.READ if "GET" in methods else extra.get("x-scope")
        opened_by = AllowAnonymous(extra.get("x-allow-anonymous", AllowAnonymous.ALL))
        return cls(rule, KeyScope(scope) if scope else None, opened_by)


def access(
    rule: Rule, *, scope: KeyScope | None = None, opened_by: AllowAnonymous = AllowAnonymous.ALL
) -> dict[str, Any]:
    """Who may call a route, as its ``openapi_extra``.

    It appears in the OpenAPI document; the route table, the table in the docs and the tests read it from there.

    Args:
        rule: Who may call it.
        scope: What an API key needs for it; None refuses API keys. A GET always needs ``read``.
        opened_by: The least ALLOW_ANONYMOUS that opens the route to everybody.
    """
    extra: dict[str, Any] = {"x-access": rule.value}
    if scope is not None:
        extra["x-scope"] = scope.value
    if opened_by is not AllowAnonymous.ALL:
        extra["x-allow-anonymous"] = opened_by.value
    if rule is not Rule.EVERYONE:
        extra["security"] = [{"ApiKey": []}, {"Token": []}]
    return extra


async def get_account_id(request: Request) -> int:
    """Id of the account that sent the request; only on routes for accounts."""
    principal = await get_principal(request)
    if principal.user_id is None:
        raise AssertionError("authorization admits only accounts here")
    return principal.user_id


async def get_principal(request: Request) -> Principal:
    """Who sent the request; only on routes that are not for everyone."""
    principal: Principal = request.state.principal
    return principal
