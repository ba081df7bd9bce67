"""CORS: which web pages may call the service from a browser."""

from typing import Final

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import ValidationFailed
from app.core.http.errors import error_response

_EXPOSED: Final = (
    *("X-Total-Count", "Link", "ETag", "Age", "Cache-Status", "X-Request-ID", "Retry-After", "Location"),
    *("RateLimit", "RateLimit-Policy"),
)
_READING: Final = ("If-None-Match", "If-Match", "X-Request-ID")

_FOR_EVERYBODY: Final = (
    (b"access-control-allow-origin", b"*"),
    # Without credentials this means all headers, and it is shorter than their names.
    (b"access-control-expose-headers", b"*"),
)


class Cors(CORSMiddleware):
    """Starlette's layer, with our rule for ``*`` and our error body.

    For ``*`` every answer has the same headers, so it needs no ``Vary: Origin`` and costs next to nothing.
    """

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        """Let pages of these origins call; ``*`` lets every page read, and none write."""
        everybody = origins == ("*",)
        self.for_everybody = _FOR_EVERYBODY if everybody else None
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD") if everybody else ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=_READING if everybody else (*_READING, "Authorization", "X-API-Key", "Content-Type"),
            expose_headers=_EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = self.for_everybody
        if headers is None or scope["method"] == "OPTIONS":
            await super().__call__(scope, receive, send)
            return

        async def send_for_everybody(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = (*message["headers"], *headers)
            await send(message)

        await self.app(scope, receive, send_for_everybody)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request; a refusal says what is not allowed."""
        response = super().preflight_response(request_headers)
        if response.status_code != 400:
            return response
        refusal = error_response(ValidationFailed(bytes(response.body).decode()))
        for name, value in response.headers.items():
            if name.startswith("access-control-") or name == "vary":
                refusal.headers[name] = value
        return refusal
