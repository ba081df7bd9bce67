"""What comes when there is too much to do already: refused at once, so that the rest is answered in time."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.db.database import Database
from app.core.errors import AppError
from app.core.http.errors import error_response
from app.core.http.routes import RouteTable
from app.core.telemetry.counts import Counts

_ROUNDS: Final = 2
"""Units of work that may be under way for each connection: one has it, and another one waits."""
_LEAST: Final = 8
"""Under way in any case: a process's own work in the background counts as well."""


class Overloaded(AppError):
    """More is under way than will be done in good time."""

    status_code = 503
    title = "Too busy"
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__("More requests came at once than can be answered in time; try again in a moment")


class Overload:
    """ASGI layer: lets so many requests pass as the database has connections for, and as many that wait for one.

    One more would only make all of them later, and would be given up in the end.
    It stands behind the cache, whose answers cost less than a refusal that is
    made here saves, and in front of all that takes time. Questions for the
    health of the service pass.
    """

    def __init__(self, app: ASGIApp, *, routes: RouteTable, counts: Counts) -> None:
        self.app = app
        self.routes = routes
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._is_too_much(scope):
            await self.app(scope, receive, send)
            return
        self.counts.overloaded += 1
        await error_response(Overloaded())(scope, receive, send)

    def _is_too_much(self, scope: Scope) -> bool:
        database: Database | None = scope.get("state", {}).get("database")
        if database is None or database.pool.units < max(_LEAST, _ROUNDS * database.pool.limit):
            return False
        route = self.routes.find_route(scope)
        return route is None or not route.is_about_health
