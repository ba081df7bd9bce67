"""HTTP routes of countries."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from app.core.config.settings import AllowAnonymous
from app.core.http.access import KeyScope, Rule, access
from app.core.http.cache.middleware import DOCUMENTED
from app.core.http.dependencies import DatabaseDep, get_data
from app.core.http.errors import documented
from app.core.http.formats import OTHER_FORMATS, table_response
from app.core.http.paging import PAGE_HEADERS, page_headers
from app.countries import crud, schemas

router = APIRouter(prefix="/countries", tags=["countries"])

_NAME: Final = (
    "Any known spelling of the name, or its alpha-2, alpha-3, numeric or IOC code. Case, accents and punctuation are "
    "ignored."
)
NameParam = Annotated[str, Path(description=_NAME, max_length=200, examples=["Ghana"])]


@router.get(
    "",
    summary="List countries",
    description="A bare array of countries; filters combine. Totals and links to neighbouring pages are in the "
    "headers.",
    response_model=None,
    responses={
        200: {
            "model": schemas.CountryList,
            "description": "The matching countries; `[]` if there are none.",
            "headers": PAGE_HEADERS,
            "content": OTHER_FORMATS,
        },
        **DOCUMENTED,
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def list_countries(request: Request, filters: Annotated[schemas.CountryFilters, Query()]) -> Response:
    countries, total = await crud.list_countries(await get_data(request), filters)
    headers = page_headers(request, total, filters.limit, filters.offset)
    rows = (tuple(country.values()) for country in countries)
    return table_response(filters.format, "countries", filters.columns, rows, json=countries, headers=headers)


@router.get(
    "/image",
    summary="Get the summary picture",
    description="PNG of 1200 x 630 pixels: number of countries, top five by estimated GDP, time and sources of the "
    "data.",
    response_class=Response,
    responses={
        200: {
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
            "description": "The picture.",
        },
        **DOCUMENTED,
        **documented(404),
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def get_image(request: Request) -> Response:
    return Response(await crud.get_image(await get_data(request)), media_type="image/png")


@router.get(
    "/{name}",
    summary="Get a country",
    description="The `details` of a 404 name stored countries that may be meant.",
    response_model_exclude_unset=True,
    responses={**DOCUMENTED, **documented(404)},
    openapi_extra=access(Rule.EVERYONE),
)
async def get_country(
    request: Request, name: NameParam, query: Annotated[schemas.CountryQuery, Query()]
) -> schemas.OneCountry:
    return schemas.OneCountry(schemas.CountrySelection(**await crud.get_fields(await get_data(request), name, query)))


@router.get(
    "/{name}/history",
    summary="List a country's history",
    description="Rate and estimate at each refresh that included the country, newest first. Totals and links to "
    "neighbouring pages are in the headers. Deleting the country deletes its history.",
    response_model=None,
    responses={
        200: {"model": list[schemas.HistoryEntryPublic], "content": OTHER_FORMATS, "headers": PAGE_HEADERS},
        **DOCUMENTED,
        **documented(404),
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def get_history(request: Request, name: NameParam, query: Annotated[schemas.HistoryQuery, Query()]) -> Response:
    entries, total, country = await crud.list_history(await get_data(request), name, query)
    headers = page_headers(request, total, query.limit, query.offset)
    file_name = f"history-{country.alpha2_code or country.id}"
    rows = (tuple(entry.values()) for entry in entries)
    return table_response(query.format, file_name, crud.HISTORY_FIELDS, rows, json=entries, headers=headers)


@router.delete(
    "/{name}",
    summary="Delete a country",
    description="Deletes its history too. The next refresh adds the country again if the source lists it.",
    responses=documented(400, 404),
    openapi_extra=access(Rule.EDITOR, scope=KeyScope.REFRESH, opened_by=AllowAnonymous.COUNTRIES),
)
async def delete_country(request: Request, database: DatabaseDep, name: NameParam) -> schemas.DeleteResult:
    return await crud.delete_country(database, request.state.snapshots, name)
