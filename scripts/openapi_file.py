"""Writes the OpenAPI document of the routes to app/service/openapi.json, which the service sends."""

import json
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app import TITLE, __version__
from app.core.config.settings import Settings
from app.core.http.access import Rule
from app.core.http.errors import documented
from app.core.http.routes import RouteInfo, RouteTable
from app.core.telemetry.log import LogLines
from app.main import create_app
from app.service.docs import DOCUMENT

DESCRIPTION: Final = """\
All countries with population, currency, the day's exchange rate and an estimated GDP, refreshed from public sources
in one transaction.

- Every list is a bare array; totals and links to other pages are in `X-Total-Count` and `Link`.
- Every error is `{"error": "...", "details": ...}`.
- `HEAD` works wherever `GET` does, and a trailing slash makes no difference.
- Unknown, repeated and blank query parameters are refused.
- Reads of countries carry an `ETag`; `If-None-Match` with it answers 304 until the next refresh or deletion.
- Answers with data carry `Link: </data-sources>; rel="license"`: where each field comes from, and under which licence.

The estimated GDP is population x random(1000..2000) / exchange rate: an illustration, not a statistic.
Exchange rates come from [currency-api](https://github.com/fawazahmed0/exchange-api) or
[Frankfurter](https://frankfurter.dev), or from the sources that the operator has named. Each answer has its `source`;
`GET /data-sources` has the credit and licence of those in use.
"""
TAGS: Final = [
    {"name": "countries", "description": "Countries, their refresh, and the summary picture."},
    {"name": "rates", "description": "Exchange rates of any day, conversion, and currencies."},
    {"name": "tracking", "description": "Batches of SMS and their messages, and the state of both."},
    {"name": "sign-in", "description": "Tokens for people, API keys for programs."},
    {"name": "users", "description": "Accounts and their addresses."},
    {"name": "audit", "description": "Who changed what, and when."},
    {"name": "service", "description": "Status, health and metrics of the service."},
]
SECURITY_SCHEMES: Final = {
    "ApiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "An API key of an account, within its scopes, or the value of ADMIN_API_KEY.",
    },
    "Token": {
        "type": "oauth2",
        "flows": {"password": {"tokenUrl": "auth/token", "scopes": {}}},
        "description": "Sign in with e-mail address and password; the token is sent in `Authorization: Bearer`.",
    },
}
"""So that Swagger UI offers *Authorize*."""

_DOCUMENTS: Final = ("count_documents", "list_documents", "advance_documents")
_ACCOUNT: Final = ("get_user", "replace_user", "update_user", "delete_user", "list_addresses", "add_address")
_TRANSFER: Final = ("get_transfer", "advance_transfer", "delete_transfer", "stream_documents", *_DOCUMENTS)
LINKS: Final[dict[str, tuple[tuple[str, ...], dict[str, str]]]] = {
    "create_user": (_ACCOUNT, {"user_id": "$response.body#/id"}),
    "add_address": (
        ("get_address", "replace_address", "delete_address"),
        {"user_id": "$response.body#/user_id", "address_id": "$response.body#/id"},
    ),
    "create_api_key": (("revoke_api_key",), {"key_id": "$response.body#/id"}),
    "put_transfer": (_TRANSFER, {"ubid": "$response.body#/UBID"}),
    "put_documents": (_DOCUMENTS, {"ubid": "$request.body#/UBID"}),
}
"""From an operation that creates something to those that take parts of its answer, and as which parameters."""


_DETAILS: Final = [{"type": "string"}, {"additionalProperties": {"type": "string"}, "type": "object"}, {"type": "null"}]
ERROR_BODY: Final = {
    "properties": {"error": {"type": "string", "title": "Error"}, "details": {"anyOf": _DETAILS, "title": "Details"}},
    "type": "object",
    "required": ["error"],
    "title": "ErrorBody",
    "description": "The body of every answer that is not a success.",
    "examples": [{"error": "Country not found"}],
}
"""As ``error_response()`` writes it."""
_ERROR: Final = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}


def generate(app: FastAPI) -> dict[str, Any]:
    """The document of an application's routes, with access rules, limits and links.

    FastAPI's own lacks them, and has 422 for invalid requests, which are 400 here.
    """
    document = get_openapi(title=TITLE, version=__version__, description=DESCRIPTION, routes=app.routes, tags=TAGS)
    routes = RouteTable(app)
    for template, operations in document["paths"].items():
        for method, operation in operations.items():
            _describe(operation, routes.describe(template, method))
    document["components"]["securitySchemes"] = SECURITY_SCHEMES
    schemas = document["components"]["schemas"] | {"ErrorBody": ERROR_BODY}
    unused = ("HTTPValidationError", "ValidationError")
    document["components"]["schemas"] = {name: schemas[name] for name in sorted(schemas) if name not in unused}
    return document


def _describe(operation: dict[str, Any], route: RouteInfo) -> None:
    """Add what FastAPI does not know of a route: its limits, who may call it, and its errors."""
    responses = operation["responses"]
    responses.pop("422", None)
    if route.rate_limit:
        operation["x-rate-limit"] = route.rate_limit
        responses |= _errors(429)
    if route.access.rule is not Rule.EVERYONE:
        responses |= _errors(401, 403, 429, 503)
        scope = route.access.scope
        keys = f"API keys need the scope `{scope}`." if scope else "Not for API keys."
        about = operation.get("description", "")
        operation["description"] = f"{about}\n\nFor: {operation['x-access']}. {keys}".strip()
        if scope:
            operation["x-scope"] = scope.value
    if "requestBody" in operation:
        responses |= _errors(408, 413, 415)
    if operation["operationId"] in LINKS:
        others, parameters = LINKS[operation["operationId"]]
        responses["201"]["links"] = {name: {"operationId": name, "parameters": parameters} for name in others}
    for status, response in responses.items():
        if status >= "400":
            response["content"] = _ERROR
    operation["responses"] = dict(sorted(responses.items()))
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _as_sent(parameter["schema"], parameter["in"])
        if parameter["required"] and "examples" in parameter["schema"]:
            # Swagger UI fills in this one, but not the examples of the schema.
            parameter["example"] = parameter["schema"]["examples"][0]


def _errors(*statuses: int) -> dict[str, Any]:
    every = documented(*statuses)
    return {str(status): every[status] for status in statuses}


def _as_sent(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """The schema of a parameter as sent: never null, and in paths and queries never blank."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema = {**{name: value for name, value in schema.items() if name != "anyOf"}, **choices[0]}
    is_free = schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}
    return {"minLength": 1, "pattern": r"\S", **schema} if is_free and place != "header" else schema


def text_of(document: dict[str, Any]) -> str:
    """The document as the file has it: indented, so that a change of the contract is a readable diff."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    app = create_app(Settings(_env_file=None), lines=LogLines(None, str))
    DOCUMENT.write_text(text_of(generate(app)), encoding="utf-8")
