"""The application: settings, start and stop, layers, routers, error handlers. Wiring only."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypedDict

from fastapi import FastAPI
from fastapi.routing import APIRoute
from loguru import logger

from app import __version__, status
from app.access import WriteGate
from app.config import Settings, load_settings
from app.cors import Cors
from app.countries import router as countries
from app.countries.refresh import Refresher
from app.countries.schedule import keep_fresh
from app.database import Database
from app.errors import UnforeseenErrors, install_error_handlers
from app.log import RequestLog, configure_logging
from app.openapi import DESCRIPTION, TAGS, TITLE, correct_openapi
from app.protocol import BodyLimit, Contract, HeadAndSlash
from app.upstream import create_http_client


class State(TypedDict):
    """What a request finds in ``request.state``."""

    database: Database
    refresher: Refresher


def create_app(
    settings: Settings | None = None,
    *,
    draw_multiplier: Callable[[], float] = lambda: random.uniform(1000, 2000),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> FastAPI:
    """Build the application.

    Args:
        settings: Read from the environment by default.
        draw_multiplier: Chance of the GDP estimate, 1000 to 2000.
        clock: The time in UTC.
    """
    settings = settings or load_settings()
    configure_logging(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        if settings.admin_api_key is None:
            logger.warning("ADMIN_API_KEY is not set: everybody who reaches this service may refresh and delete")
        database = Database(settings)
        async with create_http_client() as http:
            refresher = Refresher(database, http, settings, draw_multiplier=draw_multiplier, clock=clock)
            background = asyncio.create_task(keep_fresh(database, refresher, settings), name="keep fresh")
            try:
                yield {"database": database, "refresher": refresher}
            finally:
                background.cancel()
                await asyncio.gather(background, return_exceptions=True)
                await refresher.close()
                await database.close()

    app = FastAPI(
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
    )
    app.include_router(status.router)
    app.include_router(countries.router)
    correct_openapi(app)
    install_error_handlers(app)
    _add_layers(app, settings)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _add_layers(app: FastAPI, settings: Settings) -> None:
    """Put the layers around the application, innermost first."""
    app.add_middleware(UnforeseenErrors)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(Contract, api=app)
    key = settings.admin_api_key
    app.add_middleware(WriteGate, admin_api_key=key.get_secret_value() if key else None)
    app.add_middleware(HeadAndSlash)
    app.add_middleware(Cors, origins=settings.cors_origins)
    app.add_middleware(RequestLog, requests=settings.log_requests)


app = create_app()
