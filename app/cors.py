"""Which web pages may call the service from a browser."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.errors import ValidationFailed, error_response

READING = ("GET", "HEAD")
ALL_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class Cors(CORSMiddleware):
    """Starlette's layer, with our rule for ``*`` and our shape of errors."""

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...]) -> None:
        """Let pages of these origins call; ``*`` lets every page read, and none do more."""
        everybody = origins == ("*",)
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=READING if everybody else ALL_METHODS,
            allow_headers=() if everybody else ("X-API-Key", "Content-Type", "X-Request-ID"),
            expose_headers=("X-Total-Count", "Link", "X-Request-ID", "Retry-After"),
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a browser that asks whether it may; a refusal says what is not allowed."""
        response = super().preflight_response(request_headers)
        if response.status_code != 400:
            return response
        refusal = error_response(ValidationFailed(bytes(response.body).decode()))
        for name, value in response.headers.items():
            if name.startswith("access-control-") or name == "vary":
                refusal.headers[name] = value
        return refusal
