"""Who may do what, decided before a single byte of the body is read."""

import hmac
from typing import Final

from fastapi import Security
from fastapi.security import APIKeyHeader
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Unauthorized, error_response

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})

NeedsKey = Security(
    APIKeyHeader(
        name="X-API-Key",
        auto_error=False,
        description="The value of ADMIN_API_KEY. Not needed while the service runs in development without one.",
    )
)
"""Documents a route that writes, so that Swagger UI offers *Authorize*; the gate below decides."""


class WriteGate:
    """ASGI layer: whatever is not reading needs the key, known route or not.

    FastAPI reads and parses a body before it runs dependencies, so a dependency
    could not turn a stranger away first.
    """

    def __init__(self, app: ASGIApp, *, admin_api_key: str | None) -> None:
        self.app = app
        self.key = admin_api_key.encode() if admin_api_key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = self.key
        if key is None or scope["type"] != "http" or scope["method"] in _READING or _has_key(scope, key):
            await self.app(scope, receive, send)
            return
        error = Unauthorized(
            "This request needs the service's key in the header X-API-Key",
            headers={"WWW-Authenticate": 'ApiKey realm="countries"'},
        )
        await error_response(error)(scope, receive, send)


def _has_key(scope: Scope, key: bytes) -> bool:
    sent = [value for name, value in scope["headers"] if name == b"x-api-key"]
    return len(sent) == 1 and hmac.compare_digest(sent[0], key)
