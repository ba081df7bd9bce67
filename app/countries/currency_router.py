"""HTTP route of the currencies."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from app.core.http.access import Rule, access
from app.core.http.cache.middleware import CACHEABLE, DOCUMENTED
from app.core.http.dependencies import SessionDep, note_version
from app.core.http.formats import FORMAT_DESCRIPTION, OTHER_FORMATS, Format, answer_headers, write_table
from app.core.http.paging import TOTAL_HEADER
from app.rates import currencies
from app.rates.schemas import CurrencyPublic

router = APIRouter(tags=["rates"])

FormatParam = Annotated[Format | None, Query(alias="format", description=FORMAT_DESCRIPTION)]


@router.get(
    "/currencies",
    summary="List currencies",
    description="Every currency that a source ever quoted or that a stored country uses, in the order of the codes. "
    "Names, signs and decimals are those of CLDR.",
    response_model=None,
    responses={200: {"model": list[CurrencyPublic], "content": OTHER_FORMATS, "headers": TOTAL_HEADER}, **DOCUMENTED},
    openapi_extra=access(Rule.EVERYONE),
)
async def list_currencies(request: Request, session: SessionDep, wanted: FormatParam = None) -> Response:
    await note_version(request, session)
    form = wanted or Format.JSON
    rows = await currencies.list_currencies(session)
    headers = {**answer_headers(form, "currencies"), **CACHEABLE, "X-Total-Count": str(len(rows))}
    table = write_table(form, currencies.CURRENCY_FIELDS, rows)
    return Response(table, media_type=form.media_type, headers=headers)
