"""What the service says about itself: the front page, the status, and its health."""

from html import escape
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app import __version__
from app.access import Rule, access
from app.countries import crud
from app.countries.schemas import StatusPublic
from app.data_version import note_version
from app.database import DatabaseDep, SessionDep
from app.errors import AppError, DatabaseUnavailable, documented
from app.openapi import TITLE
from app.pool import PoolFigures
from app.response_cache import CACHEABLE, DOCUMENTED
from app.revisions import current_revision, head_revision, is_behind
from app.security_headers import page_policy

router = APIRouter(tags=["service"])

_LINKS: Final = {
    "countries": "/countries",
    "image": "/countries/image",
    "rates": "/rates",
    "currencies": "/currencies",
    "status": "/status",
    "docs": "/docs",
    "openapi": "/openapi.json",
    "health": "/health/ready",
}


class ServiceInfo(BaseModel):
    """Name, version, and where to go from here."""

    name: str = Field(examples=[TITLE])
    version: str = Field(examples=[__version__])
    links: dict[str, str] = Field(examples=[_LINKS])


class Health(BaseModel):
    """The service is well."""

    status: Literal["ok"] = "ok"


class Readiness(Health):
    """The service can do its work."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"status": "ok", "pool": PoolFigures.model_json_schema()["examples"][0]}]}
    )

    pool: PoolFigures = Field(description="Of the process that answers; without the connection of this very check.")


class NotReady(AppError):
    """The service can't do its work at the moment."""

    status_code = 503
    title = "Not ready"
    retry_after_seconds = 2


@router.get(
    "/",
    summary="Name, version, links",
    description="JSON, or a page where the client accepts `text/html`.",
    response_model=ServiceInfo,
    responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}}, **documented()},
    openapi_extra=access(Rule.EVERYONE),
)
async def get_root(accept: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
    headers = {"Vary": "Accept"}
    if "text/html" in accept:
        return HTMLResponse(_PAGE, headers={**headers, "Content-Security-Policy": page_policy()})
    info = ServiceInfo(name=TITLE, version=__version__, links=_LINKS)
    return JSONResponse(info.model_dump(), headers=headers)


@router.get(
    "/status",
    summary="Number, age and sources of the data",
    responses={**DOCUMENTED, **documented(404)},
    openapi_extra=access(Rule.EVERYONE),
)
async def get_status(request: Request, session: SessionDep, response: Response) -> StatusPublic:
    await note_version(request, session)
    response.headers.update(CACHEABLE)
    return await crud.get_status(session)


@router.get(
    "/health/live",
    summary="Is the process alive?",
    description="Never touches the database.",
    responses=documented(),
    openapi_extra=access(Rule.EVERYONE),
)
async def get_liveness() -> Health:
    return Health()


@router.get(
    "/health/ready",
    summary="Can it serve?",
    description="With the connection pool of the process that answers. 503 with the reason while the database is out "
    "of reach or its schema is not up to date.",
    responses=documented(503),
    openapi_extra=access(Rule.EVERYONE),
)
async def get_readiness(database: DatabaseDep) -> Readiness:
    try:
        async with database.reading() as session:
            revision = await current_revision(session)
    except DatabaseUnavailable as error:
        raise NotReady({"database": str(error.details)}) from error
    if is_behind(revision):
        raise NotReady({"migrations": f"revision {revision}, not {head_revision()}; run: python -m app migrate"})
    return Readiness(pool=database.pool.figures())


_PAGE: Final = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(TITLE)}</title>
<style>
  :root {{ color-scheme: light dark; }}
  body {{ font: 1.05rem/1.6 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1.5rem; }}
  img {{ width: 100%; height: auto; aspect-ratio: 1200 / 630; border: 1px solid #8884; border-radius: .5rem; }}
  nav a {{ margin-right: 1.25rem; }}
</style>
<h1>{escape(TITLE)}</h1>
<nav>{"".join(f'<a href="{path}">{escape(name)}</a>' for name, path in _LINKS.items())}</nav>
<p><img src="/countries/image" width="1200" height="630" alt="Top five countries by estimated GDP"></p>
<p>Version {__version__}. The estimated GDP is population x random(1000..2000) / exchange rate: an illustration, not a
statistic. Exchange rates by <a href="https://www.exchangerate-api.com">Exchange Rate API</a>, currency-api or
Frankfurter; <a href="/status">/status</a> says which.</p>
</html>
"""
