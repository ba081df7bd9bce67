"""HTTP route to refresh the data."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.core.config.settings import AllowAnonymous
from app.core.http.access import KeyScope, Rule, access
from app.core.http.dependencies import DatabaseDep
from app.core.http.errors import documented
from app.core.http.middleware.rate_limits import RateLimits, client_of
from app.refresh.crud import Refresher
from app.refresh.schemas import Force, RefreshResult

router = APIRouter(prefix="/countries", tags=["countries"])

ForceParam = Annotated[
    Force,
    Query(
        description="`true` accepts rates that changed more than tenfold against the last ones, and answers after "
        "which many countries lose a value or their rate; codes such as `SYP` or `SYP,VES` accept such rates of these "
        "currencies only.",
    ),
]


@router.post(
    "/refresh",
    summary="Refresh countries and rates",
    description="Fetches all countries and the day's exchange rates concurrently, estimates each GDP and stores "
    "everything, with a new summary picture, in one transaction. Concurrent calls share one refresh.",
    responses=documented(400, 409, 429, 503),
    openapi_extra=access(Rule.EDITOR, scope=KeyScope.REFRESH, opened_by=AllowAnonymous.REFRESH),
)
async def refresh_countries(
    request: Request, response: Response, database: DatabaseDep, *, force: ForceParam = False
) -> RefreshResult:
    refresher: Refresher = request.state.refresher
    limits: RateLimits = request.state.rate_limits
    order, client = refresher.order(force=force), client_of(request.scope)
    result = await refresher.refresh(
        order,
        guard=database.guard,
        before_start=lambda: limits.check("refresh", client),
        on_lead=lambda: limits.count("refresh", client),
    )
    response.headers.update(await limits.headers("refresh", client))
    return result
