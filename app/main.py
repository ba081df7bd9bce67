"""The application: settings, layers, routers, error handlers. Wiring only."""

import gc
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, cast

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute
from pwdlib import PasswordHash
from starlette.types import ASGIApp, Scope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app import __version__, status
from app.access import SECURITY_SCHEMES
from app.audit import router as audit
from app.core.config.settings import Settings, load_settings
from app.core.errors import UnforeseenErrors, install_error_handlers
from app.core.telemetry import metrics_tmp as metrics
from app.core.telemetry.counts import Counts
from app.core.telemetry.log import LogLines, configure_logging
from app.core.telemetry.tracing import TRACES_ONLY, clean_spans
from app.cors import Cors
from app.countries import currency_router as currencies
from app.countries import router as countries
from app.docs import add_docs
from app.gate import Gate, keep_rule
from app.openapi import DESCRIPTION, TAGS, TITLE, Operations, correct_openapi
from app.overload import Overload
from app.page import render as page
from app.protocol import BodyLimit, Contract, HeadAndSlash
from app.rate_limits import Limited
from app.rates import router as rates
from app.request_log import RequestLog
from app.response_cache import ResponseCache
from app.running import State, running
from app.security_headers import ALWAYS
from app.static_files import add_files
from app.tracking import router as tracking
from app.users import account_router as accounts
from app.users import router as users
from app.users.credentials import find_principal


def create_app(
    settings: Settings | None = None,
    *,
    draw_multiplier: Callable[[], float] = lambda: random.uniform(1000, 2000),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
    lines: LogLines | None = None,
    hasher: PasswordHash | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        settings: Read from the environment by default.
        draw_multiplier: Chance of the GDP estimate, 1000 to 2000.
        clock: The time in UTC.
        monotonic: Seconds that only grow, for the age of cached answers and the pauses between sign-ins.
        lines: Where log lines go; by default logging is set up to write them to standard error.
        hasher: Hashes passwords; argon2 with recommended parameters by default.
    """
    settings = settings or load_settings()
    lines = lines or configure_logging(settings)
    counts = Counts()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        clean_spans(lines.hide)
        async with running(
            settings, counts, draw_multiplier=draw_multiplier, clock=clock, monotonic=monotonic, hasher=hasher
        ) as state:
            yield state

    class Service(FastAPI):
        """One class for each application, because ``__call__`` is looked up there."""

    app = Service(
        title=TITLE,
        version=__version__,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(keep_rule)],
        generate_unique_id_function=_operation_id,
        telemetry=TRACES_ONLY,
    )
    app.include_router(status.router)
    app.include_router(metrics.router)
    app.include_router(countries.router)
    app.include_router(rates.router)
    app.include_router(currencies.router)
    app.include_router(accounts.router)  # before the accounts of others: /users/me is no id
    app.include_router(users.router)
    app.include_router(tracking.router)
    app.include_router(audit.router)
    add_docs(app)
    add_files(app, "/assets", page.FILES)
    correct_openapi(app, security_schemes=SECURITY_SCHEMES)
    install_error_handlers(app)
    operations = Operations(app)
    _add_layers(app, settings, operations)
    # What these answer themselves costs none of FastAPI's machinery, and not even a call in between.
    Service.__call__ = _layers_in_front(app, settings, operations, counts, lines).__call__  # type: ignore[assignment, method-assign]
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _add_layers(app: FastAPI, settings: Settings, operations: Operations) -> None:
    """Put the layers between FastAPI and the routes, innermost first."""
    app.add_middleware(UnforeseenErrors)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, operations=operations)
    app.add_middleware(Contract, operations=operations)


def _layers_in_front(
    app: FastAPI, settings: Settings, operations: Operations, counts: Counts, lines: LogLines
) -> RequestLog:
    """Put the layers in front of FastAPI, innermost first."""
    cache = ResponseCache(
        Overload(partial(FastAPI.__call__, app), operations=operations, counts=counts),
        may_be_cached=operations.may_be_cached,
        formats=operations.formats,
        route=operations.route,
        counts=counts,
        max_bytes=settings.cache_max_bytes,
        shared_max_age_seconds=settings.cache_shared_max_age_seconds,
        varies_by_origin=settings.cors_origins != ("*",),
    )
    key = settings.admin_api_key
    gate = Gate(
        cache,
        operations=operations,
        admin_api_key=key.get_secret_value() if key else None,
        is_production=settings.environment == "production",
        find=find_principal,
    )
    limited: ASGIApp = Limited(gate, operations=operations)
    if settings.trusted_proxies:
        # uvicorn and Starlette spell the types of ASGI in different ways.
        limited = cast(Any, ProxyHeadersMiddleware)(limited, trusted_hosts=list(settings.trusted_proxies))
    cors = Cors(HeadAndSlash(limited), origins=settings.cors_origins)
    ready = cache.ready if settings.rate_limit_reads == "off" else _never_ready
    return RequestLog(
        cors,
        settings,
        lines,
        counts=counts.requests,
        route=operations.route,
        ready=ready,
        headers=(*cors.without_origin, *ALWAYS),
        always=ALWAYS,
    )


def _never_ready(_scope: Scope, _fields: Mapping[bytes, bytes]) -> None:
    """Where reads are counted, each has to pass the layer that does it."""


app = create_app()
# All that was imported stays, and need not be searched for garbage again and again.
gc.freeze()
