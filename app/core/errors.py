"""The one shape of every error: ``{"error": title, "details": ...}``."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loguru import logger
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class AppError(Exception):
    """A failure that a client may read about; subclasses set the status and the title."""

    status_code = 500
    title = "Internal server error"
    retry_after_seconds: int | None = None
    """Sent as ``Retry-After``; None where trying again is no help."""

    def __init__(
        self, details: str | dict[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(details or self.title)
        self.details = details
        self.headers = dict(headers or {})
        if self.retry_after_seconds is not None:
            self.headers.setdefault("Retry-After", str(self.retry_after_seconds))


class ValidationFailed(AppError):
    """Something in the request is not as the contract wants it; details name the field."""

    status_code = 400
    title = "Validation failed"


class Unauthorized(AppError):
    """The request needs a credential that it does not carry."""

    status_code = 401
    title = "Unauthorized"


class MethodNotAllowed(AppError):
    """The path exists, but not with this method."""

    status_code = 405
    title = "Method not allowed"


class DatabaseUnavailable(AppError):
    """The database gave no answer within the time that one unit of work may take."""

    status_code = 503
    title = "Database unavailable"
    retry_after_seconds = 2


class UpstreamUnavailable(AppError):
    """No source of a chain gave a usable answer."""

    status_code = 503
    title = "External data source unavailable"
    retry_after_seconds = 30

    def __init__(self, api: str, reason: str) -> None:
        """Name the API ("country API") and say, source by source, what was wrong."""
        super().__init__(f"Could not fetch data from {api} ({reason})")


class Stopping(AppError):
    """The service stops, and this request had not ended in the time that is left to requests then."""

    status_code = 503
    title = "Service stopping"
    retry_after_seconds = 2


class ErrorBody(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"error": "Country not found"}]})

    error: str
    details: str | dict[str, str] | None = None


_DESCRIPTIONS: Final = {
    400: "Something in the request is not as described; `details` names it.",
    401: "The request carries no valid key or token.",
    403: "Who asks is known, and may not do this.",
    404: "There is no such thing.",
    408: "The body stopped in the middle; send the request again.",
    409: "It is at odds with what is stored, or another process is doing it; `details` says what to do.",
    412: "There is an `If-Match` that does not name the `ETag` in force.",
    429: "Too many tries; try again after `Retry-After` seconds.",
    413: "The body is larger than the service takes, or the range that was asked for.",
    415: "The body is of another type than this request takes.",
    500: "Something nobody foresaw; it was logged.",
    503: "The database or every source is out of reach, or too busy; try again after `Retry-After` seconds.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for OpenAPI: these errors, and what every route may answer.

    That is 500, and 400, because no route takes parameters that it does not know.
    """
    wanted = sorted({400, *statuses, 500})
    return {status: {"model": ErrorBody, "description": _DESCRIPTIONS[status]} for status in wanted}


def error_answers(*statuses: int) -> dict[str, Any]:
    """The same for what is added to the document behind FastAPI's back."""
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}
    return {str(status): {"description": _DESCRIPTIONS[status], "content": content} for status in statuses}


_TITLES: Final = {
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    413: "Request body too large",
    415: "Unsupported media type",
}


def error_response(error: AppError) -> JSONResponse:
    """Build the answer for an error; it is never to be kept by a cache."""
    body: dict[str, object] = {"error": error.title}
    if error.details is not None:
        body["details"] = error.details
    return JSONResponse(body, error.status_code, {"Cache-Control": "no-store", **error.headers})


def install_error_handlers(app: FastAPI) -> None:
    """Make FastAPI answer its own errors in our shape as well."""

    @app.exception_handler(AppError)
    async def answer_app_error(_: Request, error: AppError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def answer_invalid_request(_: Request, error: RequestValidationError) -> JSONResponse:
        return error_response(ValidationFailed(describe_problems(error.errors())))

    @app.exception_handler(ClientDisconnect)
    async def answer_nobody(_: Request, __: ClientDisconnect) -> JSONResponse:
        # For the log only, as FastAPI does where it reads the body itself: whoever sent it has left.
        return error_response(ValidationFailed({"body": "broke off before its end"}))

    @app.exception_handler(HTTPException)
    async def answer_http_error(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 400:
            # FastAPI gave up on the body: nested too deeply, or a number of thousands of digits.
            kind = "JSON" if "json" in request.headers.get("content-type", "") else "form"
            return error_response(ValidationFailed({"body": f"is not valid {kind}"}))
        answer = AppError(error.detail if error.status_code in (408, 413) else None, headers=error.headers)
        answer.status_code = error.status_code
        answer.title = _TITLES.get(error.status_code, str(error.detail))
        return error_response(answer)


_MOST_PROBLEMS: Final = 100


def describe_problems(problems: Any) -> dict[str, str]:
    """Turn pydantic's list of problems into one sentence a field."""
    found: dict[str, str] = {}
    for problem in problems[:_MOST_PROBLEMS]:
        found.setdefault(_field(problem["loc"]), _sentence(problem))
    return found


def describe_invalid(error: ValidationError, *, what: str) -> dict[str, str]:
    """The same for a model that was checked outside of a request; ``what`` names it where no field is to blame."""
    return describe_problems([{**problem, "loc": (what, *problem["loc"])} for problem in error.errors()])


def in_one_line(details: object) -> str:
    """Details of an error for a terminal; also those of another service, which may be anything."""
    if isinstance(details, dict):
        return "; ".join(f"{name} {told}" for name, told in details.items())
    return str(details)


def _field(loc: tuple[int | str, ...]) -> str:
    # What comes first says where it was looked for. Malformed JSON is reported at ("body", <position>).
    within = loc[1:]
    if any(isinstance(part, str) for part in within):
        return ".".join(map(str, within))
    return str(loc[0]) if loc else "request"


_SENTENCES: Final = {
    "missing": "is required",
    "json_invalid": "is not valid JSON",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be text",
    "string_unicode": "has half of a character",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "timezone_aware": "must have a zone, such as Z or +02:00",
    "datetime_parsing": "must be a time, such as 2026-11-21T09:17:00Z",
    "date_from_datetime_parsing": "must be a day, such as 2026-11-21",
    "datetime_from_date_parsing": "must be a time, such as 2026-11-21T09:17:00Z",
    "finite_number": "must be a finite number",
    "decimal_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} characters",
    "extra_forbidden": "is not a field of this request",
    "value_error": "{error}",
}
"""By pydantic's name of a problem; its own sentence stands where there is none here."""


def _sentence(problem: dict[str, Any]) -> str:
    context = problem.get("ctx", {})
    if problem["type"] in ("enum", "literal_error"):
        return f"must be one of: {context['expected']}".replace("'", "").replace(" or ", ", ")
    if problem["type"] == "string_too_short" and context["min_length"] == 1:
        return "must not be blank"
    if problem["type"] == "too_short" and context["field_type"] == "List":
        return f"must have at least {context['min_length']} entries"
    if problem["type"] == "too_long" and context["field_type"] == "List":
        return f"must have at most {context['max_length']} entries"
    sentence = _SENTENCES.get(problem["type"])
    return sentence.format(**context) if sentence else str(problem["msg"])


class UnforeseenErrors:
    """ASGI layer: an exception that nobody foresaw is a logged 500 that tells nothing.

    It stands inside the CORS and request-id layers, so that this answer gets
    their headers like any other.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except asyncio.CancelledError:
            # The server cancels what has not ended in the time for a stop, and would answer in plain text itself.
            if scope["type"] == "http" and not started:
                stopping = Stopping("It did not end in time; send the request again", headers={"Connection": "close"})
                await error_response(stopping)(scope, receive, send)
            raise
        except Exception:
            if scope["type"] != "http" or started:
                raise  # half an answer is out: only a broken connection tells the client
            logger.exception("{} {} failed", scope["method"], scope["path"])
            await error_response(AppError())(scope, receive, send)
