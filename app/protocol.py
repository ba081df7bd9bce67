"""What HTTP asks of every route alike: HEAD, trailing slashes, methods, query parameters, size and pace of bodies."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import AppError, MethodNotAllowed, ValidationFailed, error_response
from app.openapi import Operations

_STRANGERS_BYTES: Final = 16_384
LONGEST_PAUSE: Final = 30
"""Seconds without a byte of a body that is not at its end; the longest pause of a stream as well."""


class HeadAndSlash:
    """ASGI layer: HEAD works wherever GET does, and a trailing slash is no difference.

    Listing HEAD at each route would double the operation ids of OpenAPI, and
    redirecting to the other spelling would cost a client a round trip.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        # An encoded slash is part of a name, and only a written one ends a path.
        if path.endswith("/") and len(path) > 1 and scope.get("raw_path", b"/").endswith(b"/"):
            scope = {**scope, "path": path[:-1]}
        if scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, send_head)


class BodyLimit:
    """ASGI layer: a body is refused as soon as it is known to be too large, or when it does not go on.

    FastAPI's own limit answers in plain text; these errors go through our handlers.
    The size of streams of lines is bounded line by line where they are read.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, operations: Operations) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = self._limit(scope)
        if _announced_bytes(scope) > limit:
            await error_response(BodyTooLarge(limit))(scope, receive, send)
            return
        received, is_whole = 0, False

        async def bounded() -> Message:
            nonlocal received, is_whole
            # Behind its end there is only the end of the connection to wait for.
            message = await receive() if is_whole else await _receive_soon(receive)
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > limit:
                # The one exception that FastAPI's reader of bodies lets through.
                raise HTTPException(413, BodyTooLarge(limit).details)
            return message

        await self.app(scope, bounded, send)

    def _limit(self, scope: Scope) -> float:
        """How many bytes the body may have."""
        if self.operations.takes_stream(scope):
            return math.inf
        # Without a principal it is a stranger's, on a route for everyone: reading megabytes of a form takes seconds.
        is_known = "principal" in scope.get("state", {})
        return self.max_bytes if is_known else min(self.max_bytes, _STRANGERS_BYTES)


async def _receive_soon(receive: Receive) -> Message:
    try:
        async with asyncio.timeout(LONGEST_PAUSE):
            return await receive()
    except TimeoutError:
        # The server would go on waiting for the rest, to find the next request behind it.
        raise HTTPException(
            408, f"No more of the body came within {LONGEST_PAUSE} seconds", headers={"Connection": "close"}
        ) from None


def _announced_bytes(scope: Scope) -> float:
    length = Headers(scope=scope).get("content-length", "")
    # A float, because int() gives up on thousands of digits.
    return float(length) if length.isascii() and length.isdigit() else 0


class BodyTooLarge(AppError):
    """The body of the request is larger than the service takes."""

    status_code = 413
    title = "Request body too large"

    def __init__(self, max_bytes: float) -> None:
        super().__init__(f"The body may have at most {max_bytes} bytes")


class UnsupportedMediaType(AppError):
    """The body is of a type that this request does not take."""

    status_code = 415
    title = "Unsupported media type"


class Contract:
    """ASGI layer: holds methods, query parameters and media types against the OpenAPI document.

    An unknown, empty or repeated parameter is refused, never ignored: a
    misspelt filter must not look like an answer. For a wrong method ``Allow``
    lists all methods of the path, which the framework spreads over routes.
    Paths that the document does not list pass.
    """

    def __init__(self, app: ASGIApp, *, operations: Operations) -> None:
        self.app = app
        self.operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.operations.find(scope) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        try:
            _check(scope, found.operations)
        except AppError as error:
            await error_response(error)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _check(scope: Scope, operations: Mapping[str, Any]) -> None:
    operation = operations.get(scope["method"].lower())
    if operation is None:
        allowed = {method.upper() for method in operations} | ({"HEAD"} if "get" in operations else set())
        raise MethodNotAllowed(headers={"Allow": ", ".join(sorted(allowed))})
    _check_media_type(Headers(scope=scope), operation.get("requestBody", {}).get("content", {}))
    if not scope["query_string"]:
        return
    known = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
    given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    problems = _parameter_problems(given, known)
    if problems:
        raise ValidationFailed(problems)


def _check_media_type(headers: Headers, taken: Mapping[str, Any]) -> None:
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given.startswith("application/") and given.endswith("+json"):
        given = "application/json"
    if taken and has_body and given not in taken:
        raise UnsupportedMediaType(f"The header Content-Type must be {' or '.join(taken)}")
    if taken and has_body and headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("The body must not be compressed", headers={"Accept-Encoding": "identity"})


def _parameter_problems(given: list[tuple[str, str]], known: list[str]) -> dict[str, str]:
    problems: dict[str, str] = {}
    hint: Final = f"known are: {', '.join(known)}" if known else "this request takes none"
    times = Counter(name for name, _ in given)
    for name, value in given:
        if name not in known:
            problems[name[:100]] = f"is not a parameter; {hint}"
        elif times[name] > 1:
            problems[name] = "is given more than once"
        elif not value.strip():
            problems[name] = "must not be blank"
    return problems
