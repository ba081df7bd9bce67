"""Load shedding: refuse new work once the database queue is full."""

from functools import partial
from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.db.database import Database
from app.core.errors import AppError
from app.core.http.access import ANYBODY
from app.core.http.errors import error_response
from app.core.http.routes import RouteTable
from app.core.telemetry.counts import Counts

_ROUNDS: Final = 2
"""Units of work per connection: one that has it, and one that waits for it."""
_LEAST: Final = 8
"""Units of work that are always allowed: the process's background work counts too."""
_STRANGERS_QUARTERS: Final = 3
"""Quarters of the units that callers without a credential may fill; the last one is left to those with one."""


class Overloaded(AppError):
    """The service has more to do than it can finish in time."""

    status_code = 503
    title = "Too busy"
    retry_after_seconds = 1

    def __init__(self) -> None:
        super().__init__("More requests came at once than can be answered in time; try again in a moment")


def refuse_overload(database: Database, counts: Counts, *, is_stranger: bool = False) -> None:
    """Refuse a unit of work if too many are in progress; a stranger has no credential.

    Raises:
        Overloaded: Two units per connection are in progress, or three quarters of that for strangers.
    """
    limit = max(_LEAST, _ROUNDS * database.pool.limit)
    if database.pool.units >= (limit * _STRANGERS_QUARTERS // 4 if is_stranger else limit):
        counts.overloaded += 1
        raise Overloaded


class Overload:
    """ASGI layer: refuses requests that would only wait for a database connection; the rest of the queue is answered.

    It is behind the cache, because cached answers are cheaper than refusals. Health checks always pass.
    """

    def __init__(self, app: ASGIApp, *, routes: RouteTable, counts: Counts) -> None:
        self.app = app
        self.routes = routes
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope.get("state", {})
        route = self.routes.find_route(scope)
        database: Database | None = state.get("database")
        if database is not None and not (route is not None and route.is_about_health):
            is_stranger = state.get("principal", ANYBODY) is ANYBODY
            # Also for later: requests that waited for the same thing ask the database at the same time.
            state["refuse_overload"] = partial(refuse_overload, database, self.counts, is_stranger=is_stranger)
            try:
                state["refuse_overload"]()
            except Overloaded as refusal:
                await error_response(refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)
