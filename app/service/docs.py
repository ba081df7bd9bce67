"""The OpenAPI document, and the pages at /docs and /redoc, which load nothing from other hosts."""

import base64
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.core.http.openapi import TITLE
from app.core.http.security_headers import page_policy
from app.core.http.static_files import add_files

DOCUMENT: Final = Path(__file__).parent / "openapi.json"
"""What ``app.openapi()`` generates, which takes 100 ms; ``scripts/openapi_file.py`` writes it."""
_ASSETS: Final = "/docs/assets"
_FILES: Final = Path(fastapi_offline.__file__).parent / "static"
_FOREIGN_IMAGE: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
"""ReDoc loads this logo from its vendor on every visit."""
_NO_IMAGE: Final = b"data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
_INLINE: Final = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def add_docs(app: FastAPI) -> None:
    """Add the document, both pages, and the files that they load."""
    add_files(app, _ASSETS, list(_FILES.iterdir()), change=lambda content: content.replace(_FOREIGN_IMAGE, _NO_IMAGE))
    app.add_route("/openapi.json", _show_document, include_in_schema=False)
    app.add_route("/docs", _route(_swagger), include_in_schema=False)
    app.add_route("/redoc", _route(_redoc), include_in_schema=False)


async def _show_document(request: Request) -> Response:
    return Response(_read_document(request.scope.get("root_path", "").rstrip("/")), media_type="application/json")


@lru_cache(maxsize=2)
def _read_document(prefix: str) -> bytes:
    """The document in one line, naming the path prefix of the application."""
    document = json.loads(DOCUMENT.read_bytes())
    return bytes(JSONResponse({**document, "servers": [{"url": prefix}]} if prefix else document).body)


def _route(make: Callable[[str], HTMLResponse]) -> Callable[[Request], Awaitable[Response]]:
    """Serve a page, which ``make`` builds for the path prefix of the application."""

    async def show(request: Request) -> Response:
        page = make(request.scope.get("root_path", ""))
        # By their hashes, so that no other inline script runs.
        digests = (hashlib.sha256(script).digest() for script in _INLINE.findall(page.body))
        hashes = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
        page.headers["Content-Security-Policy"] = page_policy(scripts=hashes)
        page.headers["Cache-Control"] = "no-cache"
        return page

    return show


def _swagger(prefix: str) -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url=f"{prefix}/openapi.json",
        title=TITLE,
        swagger_js_url=f"{prefix}{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{prefix}{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=f"{prefix}{_ASSETS}/favicon.png",
        # Without persistAuthorization, which stores keys in the browser and keeps them when the page is closed.
        swagger_ui_parameters={"tryItOutEnabled": True, "displayRequestDuration": True},
    )


def _redoc(prefix: str) -> HTMLResponse:
    return get_redoc_html(
        openapi_url=f"{prefix}/openapi.json",
        title=TITLE,
        redoc_js_url=f"{prefix}{_ASSETS}/redoc.standalone.js",
        redoc_favicon_url=f"{prefix}{_ASSETS}/favicon.png",
        with_google_fonts=False,
    )
