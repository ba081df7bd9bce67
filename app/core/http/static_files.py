"""Files of the package, sent compressed; each is read and compressed once per process."""

import asyncio
import mimetypes
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app.core.http.cache.coding import IDENTITY, encode, negotiate

_HEADERS: Final = {"Cache-Control": "public, max-age=86400", "Vary": "Accept-Encoding"}


def add_files(
    app: FastAPI, prefix: str, paths: list[Path], *, change: Callable[[bytes], bytes] = lambda content: content
) -> None:
    """Add a route for these files, each by its name below a prefix such as ``/assets``, with its content changed."""
    by_name = {path.name: path for path in paths}

    @lru_cache(maxsize=4 * len(by_name))
    def read(name: str, coding: str) -> bytes:
        content = change(by_name[name].read_bytes())
        return content if coding == IDENTITY else encode(content, coding)

    async def send(request: Request) -> Response:
        name, coding = request.path_params["name"], negotiate(request.headers.get("accept-encoding", "").encode())
        if name not in by_name:
            raise HTTPException(404)
        content = await asyncio.to_thread(read, name, coding)
        headers = _HEADERS if coding == IDENTITY else {**_HEADERS, "Content-Encoding": coding}
        return Response(content, media_type=mimetypes.guess_type(name)[0], headers=headers)

    app.add_route(f"{prefix}/{{name}}", send, include_in_schema=False)
