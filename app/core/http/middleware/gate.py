"""The layer that keeps the rules of access: it decides before a single byte of the body is read."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.db.budget import one_request
from app.core.db.database import Database
from app.core.errors import AppError, Unauthorized
from app.core.http.access import ACTOR, ANYBODY, OPERATOR, Forbidden, Principal, Role, Rule
from app.core.http.errors import error_response
from app.core.http.middleware.unforeseen import UnforeseenErrors
from app.core.http.routes import RouteTable

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_KIND_BY_HEADER: Final = {b"x-api-key": "key", b"authorization": "token"}

FindPrincipal = Callable[[Database, str, bytes], Awaitable[Principal | None]]
"""Whose a secret is; the second argument is ``key`` or ``token``. None where it is nobody's, or not any more."""


class Gate:
    """ASGI layer: nobody passes against the rule of a route, and what is no route can't be written to.

    It decides before the body is read, which FastAPI does before it runs
    dependencies. A listed route without a rule is for admins.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: RouteTable,
        admin_api_key: str | None,
        is_production: bool,
        find: FindPrincipal,
    ) -> None:
        """Stand in front of an application.

        Args:
            app: The application.
            routes: Its routes, with their rules.
            admin_api_key: The key that opens everything; None leaves everything open.
            is_production: Whether what is open in development only is closed.
            find: Looks accounts up.
        """
        self.app = app
        self.routes = routes
        self.key = admin_api_key.encode() if admin_api_key is not None else None
        self.is_production = is_production
        self.find = find
        self._with_errors = UnforeseenErrors(self._answer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # What the start leaves running in the background is no part of a request, and must not share its time.
            await self.app(scope, receive, send)
            return
        with one_request():
            await self._judge(scope, receive, send)

    async def _judge(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule = self._rule(scope)[0]
        if rule is Rule.EVERYONE:
            await self.app(scope, receive, send)
        elif rule is Rule.EDITOR_IN_PRODUCTION and not self.is_production:
            scope["state"] = {**scope.get("state", {}), "rule": rule}
            await self.app(scope, receive, _never_kept(send))
        else:
            await self._with_errors(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        rule, parameters = self._rule(scope)
        try:
            principal = await self._principal(scope)
            _check(principal, rule, parameters)
        except AppError as error:
            await error_response(error)(scope, receive, send)
            return
        scope["state"] = {**scope.get("state", {}), "principal": principal, "rule": rule}
        token = ACTOR.set(principal)
        try:
            await self.app(scope, receive, _never_kept(send))
        finally:
            ACTOR.reset(token)

    def _rule(self, scope: Scope) -> tuple[Rule, Mapping[str, str]]:
        """The rule for a request, and the parameters in its path."""
        match, route = self.routes.find(scope), self.routes.find_route(scope)
        if match is None or route is None:
            # What is no route: 404 or 405 for those who are known, and no lesson for strangers.
            return (Rule.EVERYONE if scope["method"] in _READING else Rule.READER), {}
        return route.rule, match.parameters

    async def _principal(self, scope: Scope) -> Principal:
        given = [(name, value) for name, value in scope["headers"] if name in _KIND_BY_HEADER]
        if not given and self.key is None:
            return ANYBODY
        if len(given) != 1:
            raise _unauthorized()
        header, value = given[0]
        kind, secret = _KIND_BY_HEADER[header], value.strip()
        if kind == "key" and self.key is not None and hmac.compare_digest(secret, self.key):
            return OPERATOR
        if kind == "token":
            scheme, _, secret = secret.partition(b" ")
            if scheme.lower() != b"bearer":
                raise _unauthorized()
        principal = await self.find(scope["state"]["database"], kind, secret.strip())
        if principal is None:
            raise _unauthorized()
        return principal


async def keep_rule(request: Request) -> None:
    """Dependency of every route: refuse where the layer judged by another rule than that of the route that answers.

    Router and layer each read the path for themselves; this makes a difference between them harmless.
    """
    rule = (request.scope["route"].openapi_extra or {}).get("x-access", Rule.ADMIN)
    if rule != Rule.EVERYONE and request.scope.get("state", {}).get("rule") != rule:
        raise _unauthorized()


def _unauthorized() -> Unauthorized:
    return Unauthorized(
        "This request needs a valid key in the header X-API-Key, or a valid token in Authorization: Bearer",
        headers={"WWW-Authenticate": 'Bearer realm="countries", ApiKey realm="countries"'},
    )


def _check(principal: Principal, rule: Rule, parameters: Mapping[str, str]) -> None:
    match rule:
        case Rule.OWNER:
            is_allowed = principal.role is Role.ADMIN or parameters.get("user_id") == str(principal.user_id)
        case Rule.ACCOUNT:
            if principal is ANYBODY:
                raise _unauthorized()
            is_allowed = principal.user_id is not None
        case Rule.EDITOR_IN_PRODUCTION:
            is_allowed = principal.role.includes(Role.EDITOR)
        case _:
            is_allowed = principal.role.includes(Role(rule.value))
    if not is_allowed:
        raise Forbidden(f"This is for: {rule}. You are: {principal.name}, {principal.role}")


def _never_kept(send: Send) -> Send:
    """What is not for everyone is not for a cache either."""

    async def send_no_store(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = (item for item in message["headers"] if item[0].lower() != b"cache-control")
            message = {**message, "headers": [*others, (b"cache-control", b"no-store")]}
        await send(message)

    return send_no_store
