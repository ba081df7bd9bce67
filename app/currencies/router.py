"""HTTP routes of currencies."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.core.http.access import Rule, access
from app.core.http.cache.middleware import DOCUMENTED
from app.core.http.dependencies import get_data
from app.core.http.errors import documented
from app.core.http.formats import OTHER_FORMATS, table_response
from app.core.http.paging import TOTAL_HEADER
from app.currencies import crud, schemas

router = APIRouter(prefix="/currencies", tags=["rates"])

CodeParam = Annotated[
    schemas.CurrencyCode, Path(description="Code in upper or lower case, or number of ISO 4217.", examples=["NGN"])
]


@router.get(
    "",
    summary="List currencies",
    description="The currencies that a source has quoted, the euro has replaced, or a stored country uses, by code: "
    "current money, or those of other kinds. Codes, decimals and kinds are from ISO 4217, names and symbols from CLDR.",
    response_model=None,
    responses={
        200: {"model": list[schemas.CurrencyPublic], "content": OTHER_FORMATS, "headers": TOTAL_HEADER},
        **DOCUMENTED,
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def list_currencies(request: Request, filters: Annotated[schemas.CurrencyFilters, Query()]) -> Response:
    currencies = await crud.list_currencies(await get_data(request), filters)
    rows = (tuple(dict(currency).values()) for currency in currencies)
    headers = {"X-Total-Count": str(len(currencies))}
    return table_response(filters.format, "currencies", crud.CURRENCY_FIELDS, rows, json=currencies, headers=headers)


@router.get(
    "/{code}",
    summary="Get a currency",
    description="Also one that no source has quoted, such as a historic one.",
    responses={**DOCUMENTED, **documented(404)},
    openapi_extra=access(Rule.EVERYONE),
)
async def get_currency(request: Request, code: CodeParam) -> schemas.CurrencyPublic:
    return await crud.get_currency(await get_data(request), code)
