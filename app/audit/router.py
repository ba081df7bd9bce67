"""HTTP route of the audit trail."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.audit import crud
from app.audit.schemas import AuditEntryPublic, AuditFilters
from app.core.http.access import Rule, access
from app.core.http.dependencies import SessionDep
from app.core.http.errors import documented
from app.core.http.paging import PAGE_HEADERS, page_headers

router = APIRouter(tags=["audit"])


@router.get(
    "/audit",
    summary="List audit entries",
    description="Changes of accounts, addresses, keys and countries, and refreshes; newest first.",
    responses={200: {"headers": PAGE_HEADERS}, **documented(400)},
    openapi_extra=access(Rule.ADMIN),
)
async def list_entries(
    request: Request, session: SessionDep, filters: Annotated[AuditFilters, Query()], response: Response
) -> list[AuditEntryPublic]:
    entries, total = await crud.list_entries(session, filters)
    response.headers.update(page_headers(request, total, filters.limit, filters.offset))
    return entries
