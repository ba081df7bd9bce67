"""HTTP routes of currencies."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.core.http.access import Rule, access
from app.core.http.cache.middleware import DOCUMENTED
from app.core.http.dependencies import SnapshotDep
from app.core.http.formats import FORMAT_DESCRIPTION, OTHER_FORMATS, Format, table_response
from app.core.http.paging import TOTAL_HEADER
from app.currencies import crud, schemas

router = APIRouter(prefix="/currencies", tags=["rates"])

FormatParam = Annotated[Format | None, Query(alias="format", description=FORMAT_DESCRIPTION)]


@router.get(
    "",
    summary="List currencies",
    description="Every currency that a source has quoted or a stored country uses, by code. Names, symbols and minor "
    "units are from CLDR.",
    response_model=None,
    responses={
        200: {"model": list[schemas.CurrencyPublic], "content": OTHER_FORMATS, "headers": TOTAL_HEADER},
        **DOCUMENTED,
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def list_currencies(session: SnapshotDep, fmt: FormatParam = None) -> Response:
    rows = await crud.list_currencies(session)
    return table_response(fmt, "currencies", crud.CURRENCY_FIELDS, rows, headers={"X-Total-Count": str(len(rows))})
