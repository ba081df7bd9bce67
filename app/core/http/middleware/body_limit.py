"""Limits on the size and the pauses of request bodies."""

import asyncio
import math
from typing import Final

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.http.errors import error_response, http_error
from app.core.http.routes import RouteTable

_USUAL_BYTES: Final = 16_384
"""Enough for every route but those that say so: a parser takes seconds for megabytes of small values."""
_MOST_VALUES: Final = 100_000
"""JSON values of a body: parsing and checking more would keep the event loop from everybody else."""
LONGEST_PAUSE: Final = 30
"""Seconds for a body, beside those for its size; and the longest pause of a stream."""
_LEAST_RATE: Final = 16_384
"""Bytes of a body for each further second. A slow line reaches that, and a body that trickles for days does not."""


class BodyLimit:
    """ASGI layer: refuses a body once it is known to be too large, or when it stops arriving.

    FastAPI's own limit answers in plain text; these errors go through our handlers.
    Streams of lines are bounded per line where they are read.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, routes: RouteTable) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._limit(scope)
        too_large = f"The body may have at most {limit} bytes"
        announced = Headers(scope=scope).get("content-length", "")
        # A float, because int() gives up on thousands of digits.
        if announced.isascii() and announced.isdigit() and float(announced) > limit:
            await error_response(http_error(413, too_large))(scope, receive, send)
            return
        received, values, is_whole = 0, 0, False
        clock = asyncio.get_running_loop().time
        started = clock()

        async def bounded() -> Message:
            nonlocal received, values, is_whole
            # After the end of the body only the end of the connection can come.
            until = math.inf if is_whole else LONGEST_PAUSE
            until += clock() if limit == math.inf else started + received / _LEAST_RATE
            message = await _receive(receive, until)
            is_whole = not message.get("more_body", False)
            piece = message.get("body", b"")
            received += len(piece)
            values += _count_values(piece)
            # HTTPException is the one exception that FastAPI's reader of bodies lets through.
            if received > limit:
                raise HTTPException(413, too_large)
            if values > _MOST_VALUES and limit < math.inf:
                raise HTTPException(
                    413, f"The body may have at most {_MOST_VALUES:,} values; send several, or a stream"
                )
            return message

        await self.app(scope, bounded, send)

    def _limit(self, scope: Scope) -> float:
        route = self.routes.find_route(scope)
        if route is not None and route.takes_stream:
            return math.inf
        # Without a principal the caller is a stranger.
        may_be_large = route is not None and route.takes_large_body and "principal" in scope.get("state", {})
        return self.max_bytes if may_be_large else min(self.max_bytes, _USUAL_BYTES)


def _count_values(piece: bytes) -> int:
    """At least the number of JSON values: each follows a comma, or opens or begins a list or object."""
    return piece.count(b",") + piece.count(b"[") + piece.count(b"{")


async def _receive(receive: Receive, until: float) -> Message:
    try:
        async with asyncio.timeout_at(until if until < math.inf else None):
            return await receive()
    except TimeoutError:
        # Otherwise the server would wait for the rest, to find the next request after it.
        details = f"The body stopped arriving, or took more than {LONGEST_PAUSE} s and one for each 16 KiB"
        raise HTTPException(408, details, headers={"Connection": "close"}) from None
