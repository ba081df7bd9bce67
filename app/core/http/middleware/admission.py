"""Admission: what a request may do is decided before a byte of its body is read."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.db.database import Database
from app.core.errors import AppError
from app.core.http.access import ACTOR, SERVICE
from app.core.http.errors import error_response
from app.core.http.routes import RouteInfo, RouteMatch, RouteTable


@dataclass(slots=True)
class PendingRequest:
    """A request that is not admitted yet."""

    scope: Scope
    match: RouteMatch | None
    """None where there is no such path."""
    route: RouteInfo | None
    """None where there is no such path, or not with this method."""
    headers: dict[str, str] = field(default_factory=dict)
    """Set on its answer, except where a refusal has its own."""


Check = Callable[[PendingRequest], Awaitable[None]]
"""Raises an AppError for a request that is refused."""


class Admission:
    """ASGI layer: answers a request that one of the checks refuses, and lets the others pass."""

    def __init__(self, app: ASGIApp, *, routes: RouteTable, checks: Sequence[Check]) -> None:
        self.app = app
        self.routes = routes
        self.checks = checks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.setdefault("state", {})
        database: Database | None = state.get("database")
        if database is not None:
            state["database"] = database.for_request()
        request = PendingRequest(scope, self.routes.find(scope), self.routes.find_route(scope))
        try:
            for check in self.checks:
                await check(request)
        except AppError as error:
            await error_response(error)(scope, receive, _with_headers(send, {**request.headers, **error.headers}))
            return
        token = ACTOR.set(state.get("principal", SERVICE))
        try:
            await self.app(scope, receive, _with_headers(send, request.headers))
        finally:
            ACTOR.reset(token)


def _with_headers(send: Send, headers: Mapping[str, str]) -> Send:
    """Set headers of the answer, replacing any with the same names."""
    if not headers:
        return send
    fields = {name.lower().encode(): value.encode() for name, value in headers.items()}

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            others = (item for item in message["headers"] if item[0].lower() not in fields)
            message = {**message, "headers": [*others, *fields.items()]}
        await send(message)

    return send_with_headers
