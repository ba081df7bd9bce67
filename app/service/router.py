"""HTTP routes about the service itself: the front page, status, health and metrics."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from app import TITLE, __version__
from app.core.db.pool import PoolFigures
from app.core.http.access import Rule, access
from app.core.http.cache.middleware import DATA_SOURCES, DOCUMENTED, licence_link
from app.core.http.dependencies import DatabaseDep, get_data
from app.core.http.errors import documented
from app.countries import crud
from app.countries.schemas import StatusPublic, example
from app.service.data_sources import DataSourcePublic, list_data_sources
from app.service.page import PageQuery, RootFormat, render_page
from app.service.readiness import ReadinessCheck

router = APIRouter(tags=["service"])

_LINKS: Final = {
    "countries": "/countries",
    "image": "/countries/image",
    "rates": "/rates",
    "currencies": "/currencies",
    "status": "/status",
    "data_sources": DATA_SOURCES,
    "docs": "/docs",
    "openapi": "/openapi.json",
    "health": "/health/ready",
}


class ServiceInfo(BaseModel):
    """Name and version of the service, and links to its parts."""

    name: str = Field(examples=[TITLE])
    version: str = Field(examples=[__version__])
    links: dict[str, str] = Field(examples=[_LINKS])


class Health(BaseModel):
    """The process is running."""

    status: Literal["ok"] = "ok"


class Readiness(Health):
    """The service is ready to handle requests."""

    model_config = example(status="ok", pool=PoolFigures.model_json_schema()["examples"][0])

    pool: PoolFigures = Field(description="Connections of the responding process, without the one of this check.")


@router.get(
    "/",
    summary="Get name, version and links",
    description="JSON, or a page for people if the client prefers `text/html`. Its table shows what `q` finds, "
    "and its converter converts `amount`.",
    response_model=ServiceInfo,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **DOCUMENTED},
    openapi_extra=access(Rule.EVERYONE),
)
async def get_root(request: Request, query: Annotated[PageQuery, Query()]) -> Response:
    if query.format is RootFormat.HTML:
        return await render_page(request, query)
    info = ServiceInfo(name=TITLE, version=__version__, links=_LINKS)
    return JSONResponse(info.model_dump(), headers={"Vary": "Accept", "Link": licence_link(request.scope)})


@router.get(
    "/status",
    summary="Get number, age and sources of the data",
    responses={**DOCUMENTED, **documented(404)},
    openapi_extra=access(Rule.EVERYONE),
)
async def get_status(request: Request) -> StatusPublic:
    return await crud.get_status(await get_data(request))


@router.get(
    DATA_SOURCES,
    summary="List the sources of the data",
    description="A bare array: per field its source, version, licence and credit. First the data that ship with the "
    "service, then the sources that the stored countries and rates came from. Answers with data link here, by "
    '`Link: rel="license"`.',
    responses=DOCUMENTED,
    openapi_extra=access(Rule.EVERYONE),
)
async def get_data_sources(request: Request) -> list[DataSourcePublic]:
    return await list_data_sources(await get_data(request))


@router.get(
    "/health/live",
    summary="Liveness",
    description="Whether the process runs; never uses the database.",
    responses=documented(),
    openapi_extra=access(Rule.EVERYONE),
)
async def get_liveness() -> Health:
    return Health()


@router.get(
    "/health/ready",
    summary="Readiness",
    description="Whether the service can handle requests, with the connection pool of the responding process. 503 with "
    "the reason if the database is unavailable or its schema is outdated. The check is at most a second old.",
    responses=documented(503),
    openapi_extra=access(Rule.EVERYONE),
)
async def get_readiness(request: Request, database: DatabaseDep) -> Readiness:
    readiness: ReadinessCheck = request.state.readiness
    await readiness.require_ready()
    return Readiness(pool=database.pool.figures())


@router.get(
    "/metrics",
    summary="Get Prometheus metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Prometheus text format 0.0.4.",
        },
        **documented(),
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def get_metrics(request: Request) -> Response:
    """Requests, refreshes, sources, cache, connection pool, CPU and memory of the responding process.

    Never uses the database.
    """
    from app.core.telemetry.prometheus import write_metrics  # noqa: PLC0415  # 6 ms and 1 MB of a start

    state = request.state
    content = write_metrics(state.database.pool, state.counts, clock=state.clock, workers=state.workers)
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8", "Cache-Control": "no-store"}
    return Response(content, headers=headers)
