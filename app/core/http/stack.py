"""The layers around the routes, in one list."""

from typing import Any, cast

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.core.config.settings import Settings
from app.core.http.cache.middleware import ResponseCache
from app.core.http.middleware.admission import Admission
from app.core.http.middleware.authorization import Authorization, CheckStillHeld, FindPrincipal
from app.core.http.middleware.begin_again import BeginAgain
from app.core.http.middleware.body_limit import BodyLimit
from app.core.http.middleware.contract import check_contract
from app.core.http.middleware.cors import Cors
from app.core.http.middleware.head_and_slash import HeadAndSlash
from app.core.http.middleware.host import check_host
from app.core.http.middleware.overload import Overload
from app.core.http.middleware.rate_limits import check_rate_limit
from app.core.http.middleware.request_log import RequestLog
from app.core.http.middleware.unforeseen import UnforeseenErrors
from app.core.http.request_notes import RequestNotes
from app.core.http.routes import RouteTable
from app.core.telemetry.counts import Counts


class HttpLayers:
    """ASGI middleware: puts layers around the application that see HTTP requests only, not its start and stop."""

    def __init__(self, app: ASGIApp, outermost_first: list[Middleware]) -> None:
        self.app = self.layers = app
        for layer in reversed(outermost_first):
            self.layers = layer.cls(self.layers, *layer.args, **layer.kwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.layers if scope["type"] == "http" else self.app)(scope, receive, send)


def add_layers(
    app: FastAPI,
    settings: Settings,
    *,
    routes: RouteTable,
    counts: Counts,
    notes: RequestNotes,
    find_principal: FindPrincipal,
    check_still_held: CheckStillHeld,
) -> None:
    """Put the layers around the routes of an application."""
    authorization = Authorization(settings, find_principal=find_principal, check_still_held=check_still_held)
    # uvicorn and Starlette spell the types of ASGI in different ways.
    proxies: Any = Middleware(cast(Any, ProxyHeadersMiddleware), trusted_hosts=list(settings.trusted_proxies))
    outermost_first = [
        # The id, the log line and the metrics of every request; answers that are ready.
        Middleware(RequestLog, notes=notes, label=routes.label),
        # Which web pages may call the service from a browser.
        Middleware(Cors, origins=settings.cors_origins),
        # HEAD becomes GET, and a trailing slash goes.
        Middleware(HeadAndSlash),
        # Takes the client's address from trusted proxies.
        *([proxies] if settings.trusted_proxies else []),
        # What fails in the layers below is a logged 500.
        Middleware(UnforeseenErrors),
        # 429, 401 and 403, then 404, 405, 415 and 400, before the body is read.
        Middleware(Admission, routes=routes, checks=[check_host, check_rate_limit, authorization, check_contract]),
        # Repeated reads from memory, 304 and 412.
        Middleware(ResponseCache, routes=routes, counts=counts, shared_max_age=settings.cache_shared_max_age_seconds),
        # 503 once the database has too much to do.
        Middleware(Overload, routes=routes, counts=counts),
        # 413 and 408, by Content-Length or while the body arrives.
        Middleware(BodyLimit, max_bytes=settings.max_body_bytes, routes=routes),
        # What fails in a route is a logged 500, with the headers that the layers above add.
        Middleware(UnforeseenErrors),
        # Reads during which the data have changed.
        Middleware(BeginAgain),
    ]
    app.add_middleware(HttpLayers, outermost_first)
