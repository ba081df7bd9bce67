"""HTTP routes of the countries."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic_core import to_json

from app.core.http.access import Rule, access
from app.core.http.cache.middleware import DOCUMENTED
from app.core.http.dependencies import DatabaseDep, SnapshotDep
from app.core.http.errors import documented
from app.core.http.formats import OTHER_FORMATS, Format, answer_headers, write_table
from app.core.http.paging import PAGE_HEADERS, page_headers
from app.countries import crud
from app.countries.crud import HISTORY_FIELDS, list_history
from app.countries.schemas import (
    CountryFilters,
    CountryList,
    CountryPublic,
    DeleteResult,
    HistoryEntryPublic,
    HistoryQuery,
)

router = APIRouter(prefix="/countries", tags=["countries"])


NameParam = Annotated[
    str,
    Path(
        description="Name in any case, accents do not count; or alpha-2 or alpha-3 code.",
        max_length=200,
        examples=["Ghana"],
    ),
]
FiltersParam = Annotated[CountryFilters, Query()]


@router.get(
    "",
    summary="List countries",
    description="All countries as a bare array; filters combine. Totals and neighbouring pages are in the headers.",
    response_model=None,
    responses={
        200: {
            "model": CountryList,
            "description": "The countries, `[]` when none matches.",
            "headers": PAGE_HEADERS,
            "content": OTHER_FORMATS,
        },
        **DOCUMENTED,
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def list_countries(request: Request, session: SnapshotDep, filters: FiltersParam) -> Response:
    countries, total = await crud.list_countries(session, filters)
    form = filters.format or Format.JSON
    headers = {**answer_headers(form, "countries"), "X-Total-Count": str(total)}
    if filters.is_paged:
        headers |= page_headers(request, total, limit=filters.limit, offset=filters.offset)
    if form is Format.JSON:
        # Written by pydantic in one go: the rows come from our own database and need no second validation.
        return Response(to_json(countries), media_type=form.media_type, headers=headers)
    rows = (tuple(country.values()) for country in countries)
    return Response(write_table(form, filters.columns, rows), media_type=form.media_type, headers=headers)


@router.get(
    "/image",
    summary="Summary picture",
    description="PNG of 1200 x 630: number of countries, top five by estimated GDP, time and sources of the data.",
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
async def get_image(session: SnapshotDep) -> Response:
    return Response(await crud.get_image(session), media_type="image/png")


@router.get(
    "/{name}",
    summary="One country",
    responses={**DOCUMENTED, **documented(404)},
    openapi_extra=access(Rule.EVERYONE),
)
async def get_country(session: SnapshotDep, name: NameParam) -> CountryPublic:
    return CountryPublic.model_validate(await crud.get_country(session, name), from_attributes=True)


@router.get(
    "/{name}/history",
    summary="History of a country",
    description="Rate and estimate at each refresh that brought the country, the newest first, a page at a time; "
    "totals and neighbouring pages are in the headers. It goes with the country when that is deleted.",
    response_model=None,
    responses={
        200: {"model": list[HistoryEntryPublic], "content": OTHER_FORMATS, "headers": PAGE_HEADERS},
        **DOCUMENTED,
        **documented(404),
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def get_history(
    request: Request, session: SnapshotDep, name: NameParam, query: Annotated[HistoryQuery, Query()]
) -> Response:
    rows, total, country = await list_history(session, name, query)
    form = query.format or Format.JSON
    headers = {
        **answer_headers(form, f"history-{country.alpha2_code or country.id}"),
        **page_headers(request, total, limit=query.limit, offset=query.offset),
    }
    return Response(write_table(form, HISTORY_FIELDS, rows), media_type=form.media_type, headers=headers)


@router.delete(
    "/{name}",
    summary="Delete a country",
    description="Its history goes with it. It comes back with the next refresh if the source lists it.",
    responses=documented(400, 404),
    openapi_extra=access(Rule.EDITOR),
)
async def delete_country(database: DatabaseDep, name: NameParam) -> DeleteResult:
    return await crud.delete_country(database, name)
