"""The OpenAPI document: its title, description and tags, and corrections of what FastAPI generates."""

from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI

from app.core.http.errors import error_answers
from app.core.http.routes import RouteTable

TITLE: Final = "Country Data & Currency Exchange API"
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


def links(*operation_ids: str, **parameters: str) -> dict[str, Any]:
    """The ``links`` of an answer: the operations that take parts of it, and as which parameters."""
    return {operation_id: {"operationId": operation_id, "parameters": parameters} for operation_id in operation_ids}


def _as_sent(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """The schema of a parameter as sent: never null, and in paths and queries never blank."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema = {**{name: value for name, value in schema.items() if name != "anyOf"}, **choices[0]}
    is_free = schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}
    return {"minLength": 1, "pattern": r"\S", **schema} if is_free and place != "header" else schema


def correct_openapi(app: FastAPI, routes: RouteTable, *, security_schemes: Mapping[str, Any]) -> None:
    """Add access rules and limits to the document, and remove 422, because invalid requests are 400 here."""
    generate = app.openapi

    def corrected() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            for template, operations in document["paths"].items():
                for method, operation in operations.items():
                    operation["responses"].pop("422", None)
                    route = routes.describe(template, method)
                    if rate_limit := route.rate_limit:
                        operation["x-rate-limit"] = rate_limit
                        operation["responses"] |= error_answers(429)
                    if "requestBody" in operation:
                        operation["responses"] |= error_answers(408, 413, 415)
                    operation["responses"] = dict(sorted(operation["responses"].items()))
                    for parameter in operation.get("parameters", ()):
                        parameter["schema"] = _as_sent(parameter["schema"], parameter["in"])
                        if parameter["required"] and "examples" in parameter["schema"]:
                            # Swagger UI fills in this one, but not the examples of the schema.
                            parameter["example"] = parameter["schema"]["examples"][0]
                    if "security" in operation:
                        about, scope = operation.get("description", ""), route.access.scope
                        keys = f"API keys need the scope `{scope}`." if scope else "Not for API keys."
                        operation["description"] = f"{about}\n\nFor: {operation['x-access']}. {keys}".strip()
                        if scope:
                            operation["x-scope"] = scope.value
            document["components"]["securitySchemes"] = dict(security_schemes)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        return generate()

    app.openapi = corrected  # type: ignore[method-assign]  # FastAPI's documented way to change the document
