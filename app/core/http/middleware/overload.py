"""Load shedding: refuse new work once the database queue is full."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.db.database import Database
from app.core.errors import AppError
from app.core.http.errors import error_response
from app.core.http.routes import RouteTable
from app.core.telemetry.counts import Counts

_ROUNDS: Final = 2
"""Units of work per connection: one that has it, and one that waits for it."""
_LEAST: Final = 8
"""Units of work that are always allowed: the process's background work counts too."""


class Overloaded(AppError):
    """The service has more to do than it can finish in time."""

    status_code = 503
    title = "Too busy"
    retry_after_seconds = 1


class Overload:
    """ASGI layer: admits at most two units of database work per connection; the rest get 503 at once.

    It is behind the cache, because cached answers are cheaper than refusals. Health checks always pass.
    """

    def __init__(self, app: ASGIApp, *, routes: RouteTable, counts: Counts) -> None:
        self.app = app
        self.routes = routes
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._is_overloaded(scope):
            self.counts.overloaded += 1
            refusal = Overloaded("More requests came at once than can be answered in time; try again in a moment")
            await error_response(refusal)(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_overloaded(self, scope: Scope) -> bool:
        database: Database | None = scope.get("state", {}).get("database")
        if database is None or database.pool.units < max(_LEAST, _ROUNDS * database.pool.limit):
            return False
        route = self.routes.find_route(scope)
        return route is None or not route.is_about_health
