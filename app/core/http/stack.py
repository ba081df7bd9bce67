"""The layers of a request, in their order."""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from fastapi import FastAPI
from starlette.types import ASGIApp, Scope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.core.config.settings import Settings
from app.core.http.cache.middleware import ResponseCache
from app.core.http.middleware.admission import Admission
from app.core.http.middleware.authorization import Authorization, FindPrincipal
from app.core.http.middleware.body_limit import BodyLimit
from app.core.http.middleware.contract import check_contract
from app.core.http.middleware.cors import Cors
from app.core.http.middleware.head_and_slash import HeadAndSlash
from app.core.http.middleware.overload import Overload
from app.core.http.middleware.rate_limits import check_rate_limit
from app.core.http.middleware.request_log import RequestLog
from app.core.http.middleware.unforeseen import UnforeseenErrors
from app.core.http.routes import RouteTable
from app.core.http.security_headers import ALWAYS
from app.core.telemetry.counts import Counts
from app.core.telemetry.log import LogLines


def _add_layers(app: FastAPI, settings: Settings, routes: RouteTable) -> None:
    """Put the layers between FastAPI and the routes, innermost first."""
    app.add_middleware(UnforeseenErrors)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, routes=routes)


def _layers_in_front(
    app: FastAPI, settings: Settings, routes: RouteTable, counts: Counts, lines: LogLines, find_principal: FindPrincipal
) -> RequestLog:
    """Put the layers in front of FastAPI, innermost first."""
    cache = ResponseCache(
        Overload(partial(FastAPI.__call__, app), routes=routes, counts=counts),
        routes=routes,
        counts=counts,
        max_bytes=settings.cache_max_bytes,
        shared_max_age_seconds=settings.cache_shared_max_age_seconds,
        varies_by_origin=settings.cors_origins != ("*",),
    )
    key = settings.admin_api_key
    authorization = Authorization(
        admin_api_key=key.get_secret_value() if key else None,
        is_production=settings.environment == "production",
        find_principal=find_principal,
    )
    admission = Admission(cache, routes=routes, checks=[check_rate_limit, authorization, check_contract])
    limited: ASGIApp = UnforeseenErrors(admission)
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
        route=routes.label,
        ready=ready,
        headers=(*cors.without_origin, *ALWAYS),
        always=ALWAYS,
    )


def _never_ready(_scope: Scope, _fields: Mapping[bytes, bytes]) -> None:
    """Where reads are counted, each has to pass the layer that does it."""
