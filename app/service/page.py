"""The page at ``/`` for browsers: the stored data as one HTML document."""

from pathlib import Path
from typing import Final

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from loguru import logger
from sqlmodel.ext.asyncio.session import AsyncSession

from app import __version__
from app.core.db.database import Database
from app.core.errors import DatabaseUnavailable
from app.core.http.dependencies import open_snapshot
from app.core.http.openapi import TITLE
from app.core.http.security_headers import page_policy
from app.countries.crud import CountryNotFound, get_status, list_countries
from app.countries.schemas import CountryFilters, CountrySort
from app.rates.crud import RatesNotFound, get_rates
from app.rates.schemas import RatesPublic, RatesQuery
from app.service.view import NOTHING, View, dollars, flag_of, make_view, rate_of

_FOLDER: Final = Path(__file__).parent / "assets"
FILES: Final = [_FOLDER / "page.css", _FOLDER / "page.js"]
"""Files that the page loads, apart from the picture and the favicon."""
_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters |= {"flag": flag_of, "dollars": dollars, "rate": rate_of}
_LISTED: Final = CountryFilters(sort=CountrySort.GDP_DESC)
_HEADERS: Final = {"Vary": "Accept", "Content-Security-Policy": page_policy()}


async def render_page(request: Request, database: Database) -> HTMLResponse:
    """Render the stored data, or a 503 page if the database is unavailable."""
    try:
        async with open_snapshot(request, database) as session:
            view = await _read_view(session)
    except DatabaseUnavailable as error:
        logger.error("Cannot render the page: {}", error.details)
        view = NOTHING._replace(problem="The database is unavailable. Please try again in a moment.")
    page = _TEMPLATES.get_template("page.html").render(title=TITLE, version=__version__, **view._asdict())
    if not view.problem:
        return HTMLResponse(page, headers=_HEADERS)
    return HTMLResponse(page, 503, headers={**_HEADERS, "Cache-Control": "no-store", "Retry-After": "2"})


async def _read_view(session: AsyncSession) -> View:
    try:
        status = await get_status(session)
    except CountryNotFound:
        return NOTHING
    countries, _ = await list_countries(session, _LISTED)
    return make_view(status, countries, await _read_rates(session))


async def _read_rates(session: AsyncSession) -> RatesPublic | None:
    try:
        return await get_rates(session, RatesQuery())
    except RatesNotFound:
        return None
