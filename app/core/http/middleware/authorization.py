"""Authorization: who sends a request, and whether the access rule of its route allows it."""

import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from sqlmodel.ext.asyncio.session import AsyncSession
from starlette.requests import Request
from starlette.types import Scope

from app.core.config.addresses import origin_of
from app.core.config.settings import Settings
from app.core.errors import Unauthorized
from app.core.http.access import ANYBODY, OPERATOR, Access, Forbidden, KeyScope, Principal, Role, Rule
from app.core.http.anonymous import is_cross_site, is_local
from app.core.http.middleware.admission import PendingRequest

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_KIND_BY_HEADER: Final = {b"x-api-key": "key", b"authorization": "token"}

FindPrincipal = Callable[[Scope, str, bytes], Awaitable[Principal | None]]
"""Finds the principal for a secret of a request, a ``key`` or a ``token``; None if unknown, expired or revoked."""
CheckStillHeld = Callable[[Principal, AsyncSession], Awaitable[None]]
"""Raises an Unauthorized if the credential of a principal ended after the request was admitted."""


class Authorization:
    """Check: enforces the access rule of each route; unknown paths accept no writes."""

    def __init__(self, settings: Settings, *, find_principal: FindPrincipal, check_still_held: CheckStillHeld) -> None:
        """``check_still_held`` runs in each transaction of a request with a token or an API key."""
        key, public = settings.admin_api_key, origin_of(settings.public_url or "")
        self._key = key.get_secret_value().encode() if key is not None else None
        self._allow_anonymous = settings.allow_anonymous
        self._public_host = urlsplit(public).hostname if public else None
        self._origins = set(settings.cors_origins) - {"*"}
        if public is not None:
            self._origins.add(public)
        self._find_principal = find_principal
        self._check_still_held = check_still_held

    async def __call__(self, request: PendingRequest) -> None:
        """Note the principal in the state of the request, and let its changes be checked again when they are made.

        Raises:
            Unauthorized: A valid credential is needed and missing.
            Forbidden: The principal is not allowed to do this.
        """
        # Unknown route: reads get 404 or 405; for other methods only authenticated callers do, others get 401.
        otherwise = Access(Rule.EVERYONE if request.scope["method"] in _READING else Rule.READER)
        access = request.route.access if request.route else otherwise
        state = request.scope["state"]
        if access.rule is Rule.EVERYONE:
            # No database look-up for others' credentials, which change nothing here.
            if self._is_operator(_credentials(request.scope)):
                state["principal"] = OPERATOR  # not a stranger under load
            return
        request.headers["Cache-Control"] = "no-store"
        state["admitted_by"] = access
        principal = await self._authenticate(request.scope) or self._admit_anonymous(request.scope, access)
        _check_rule(principal, access.rule, request.match.parameters if request.match else {})
        if request.route is not None:
            _check_scope(principal, access.scope)
        state["principal"] = principal
        if principal.credential_id is not None:
            state["database"] = state["database"].guarded(partial(self._check_still_held, principal))

    async def _authenticate(self, scope: Scope) -> Principal | None:
        """The principal of the request's credential; None without one."""
        credentials = _credentials(scope)
        if not credentials:
            return None
        if len(credentials) != 1:
            raise _unauthorized()
        if self._is_operator(credentials):
            return OPERATOR
        kind, secret = credentials[0]
        if kind == "token":
            scheme, _, secret = secret.partition(b" ")
            if scheme.lower() != b"bearer":
                raise _unauthorized()
        principal = await self._find_principal(scope, kind, secret.strip())
        if principal is None:
            raise _unauthorized()
        return principal

    def _is_operator(self, credentials: Sequence[tuple[str, bytes]]) -> bool:
        """Whether the only credential of a request is ADMIN_API_KEY."""
        if self._key is None or len(credentials) != 1:
            return False
        kind, secret = credentials[0]
        return kind == "key" and hmac.compare_digest(secret, self._key)

    def _admit_anonymous(self, scope: Scope, access: Access) -> Principal:
        """Admit a caller without a credential: everybody as ALLOW_ANONYMOUS says, this machine without a key."""
        is_open = self._allow_anonymous is not None and self._allow_anonymous.includes(access.opened_by)
        if not is_open and (self._key is not None or not is_local(scope, public_host=self._public_host)):
            raise _unauthorized()
        # Also for reading: with CORS_ORIGINS=* the page could read the answer.
        if is_cross_site(scope, origins=self._origins):
            raise Forbidden(
                "A page of another site sent this request without a key or token; send one, or add the origin of the "
                "page to CORS_ORIGINS"
            )
        return ANYBODY


async def check_rule(request: Request) -> None:
    """Dependency of every route: refuse a request that was admitted by other rules than those of this route.

    Router and route table each read the path for themselves; this makes a difference between them harmless.
    """
    route = request.scope["route"]
    access = Access.read(route.openapi_extra or {}, route.methods)
    if access.rule is not Rule.EVERYONE and request.scope.get("state", {}).get("admitted_by") != access:
        raise _unauthorized()


def _credentials(scope: Scope) -> list[tuple[str, bytes]]:
    """The kind and text of each credential in a request."""
    return [(_KIND_BY_HEADER[name], value.strip()) for name, value in scope["headers"] if name in _KIND_BY_HEADER]


def _unauthorized() -> Unauthorized:
    return Unauthorized(
        "This request needs a valid key in the header X-API-Key, or a valid token in Authorization: Bearer",
        headers={"WWW-Authenticate": 'Bearer realm="countries", ApiKey realm="countries"'},
    )


def _check_rule(principal: Principal, rule: Rule, parameters: Mapping[str, str]) -> None:
    needed = str(rule)
    match rule:
        case Rule.OWNER:
            is_allowed = principal.role is Role.ADMIN or parameters.get("user_id") == str(principal.user_id)
        case Rule.ACCOUNT:
            if principal is ANYBODY:
                raise _unauthorized()
            if principal.user_id is None:
                raise Forbidden(
                    f"This needs an account, and {principal.name} has none: sign in, or use an account's API key"
                )
            return
        case _:
            role = Role(rule.value)
            needed, is_allowed = f"role {role}", principal.role.includes(role)
    if not is_allowed:
        raise Forbidden(f"Requires {needed}; you are {principal.name} ({principal.role})")


def _check_scope(principal: Principal, scope: KeyScope | None) -> None:
    if principal.scopes is None or scope in principal.scopes:
        return
    if scope is None:
        raise Forbidden("API keys can't do this; sign in, and send the token instead")
    held = ", ".join(sorted(principal.scopes))
    raise Forbidden(f"Requires an API key with the scope {scope}; this one has {held}")
