"""Errors over HTTP: the body of an error, the handlers, and the responses for OpenAPI."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.core.errors import AppError, ValidationFailed
from app.core.problems import describe_problems

_DESCRIPTIONS: Final = {
    400: "The request is invalid; `details` names the fields.",
    401: "The request has no valid key or token.",
    403: "The caller is not allowed to do this; see `details`.",
    404: "Not found.",
    408: "The body arrived incomplete; send the request again.",
    409: "The request conflicts with stored data or with one in progress; see `details`.",
    412: "`If-Match` does not match the current `ETag`.",
    429: "Too many requests; try again after `Retry-After` seconds.",
    413: "The body, or the requested range, is too large.",
    415: "The body is of a media type that this request does not take.",
    500: "Unexpected error; it has been logged.",
    503: "The database or every source is unavailable, or the service too busy; try again after `Retry-After` seconds.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for OpenAPI: these errors, and 400 and 500, which every route may answer.

    Their body is added where the document is generated: as a model here, it would cost each start 17 ms.
    """
    return {status: {"description": _DESCRIPTIONS[status]} for status in sorted({400, *statuses, 500})}


_TITLES: Final = {
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Request body too large",
    415: "Unsupported media type",
    431: "Request header fields too large",
}


def http_error(
    status: int, details: str | None = None, *, title: str | None = None, headers: Mapping[str, str] | None = None
) -> AppError:
    """Create an error that has no class of its own; its title is that of the status by default."""
    error = AppError(details, headers=headers)
    error.status_code, error.title = status, title or _TITLES[status]
    return error


def error_response(error: AppError) -> JSONResponse:
    """Build the answer for an error; no cache may keep it."""
    body: dict[str, object] = {"error": error.title}
    if error.details is not None:
        body["details"] = error.details
    return JSONResponse(body, error.status_code, {"Cache-Control": "no-store", **error.headers})


def install_error_handlers(app: FastAPI) -> None:
    """Give FastAPI's own errors our body too."""

    @app.exception_handler(AppError)
    async def answer_app_error(_: Request, error: AppError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def answer_invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(ValidationFailed(describe_problems(error.errors())))

    @app.exception_handler(ClientDisconnect)
    async def answer_nobody(_: Request, __: ClientDisconnect) -> JSONResponse:
        # For the log only, as FastAPI does where it reads the body itself: the client has left.
        return error_response(ValidationFailed({"body": "broke off before its end"}))

    @app.exception_handler(HTTPException)
    async def answer_http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:
            # FastAPI gave up on the body: nested too deeply, or a number of thousands of digits.
            kind = "JSON" if "json" in request.headers.get("content-type", "") else "form"
            return error_response(ValidationFailed({"body": f"is not valid {kind}"}))
        details = error.detail if error.status_code in (408, 413) else None
        title = _TITLES.get(error.status_code, str(error.detail))
        return error_response(http_error(error.status_code, details, title=title, headers=error.headers))
