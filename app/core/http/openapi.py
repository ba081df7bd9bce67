"""The OpenAPI document: what stands at the head of it, and what FastAPI adds that is not true here."""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from starlette.routing import compile_path
from starlette.types import Scope

from app.core.http.errors import error_answers
from app.core.telemetry.counts import OTHER

TITLE: Final = "Country Data & Currency Exchange API"
DESCRIPTION: Final = """\
All countries with population, currency, the day's exchange rate and an estimated GDP, refreshed from public sources
in one transaction.

- Every list is a bare array; totals and neighbouring pages travel in `X-Total-Count` and `Link`.
- Every error is `{"error": "...", "details": ...}`.
- `HEAD` works wherever `GET` does, and a trailing slash is no difference.
- Unknown, repeated and blank query parameters are refused.
- Reads of countries carry an `ETag`; `If-None-Match` with it answers 304 until the next refresh or deletion.

The estimated GDP is population x random(1000..2000) / exchange rate: an illustration, not a statistic.
Exchange rates, depending on the source that answered:
[Rates By Exchange Rate API](https://www.exchangerate-api.com),
[currency-api](https://github.com/fawazahmed0/exchange-api), [Frankfurter](https://frankfurter.dev).
"""
TAGS: Final = [
    {"name": "countries", "description": "Countries, their refresh, and the picture that sums them up."},
    {"name": "rates", "description": "Exchange rates of any day, and conversion by them."},
    {
        "name": "tracking",
        "description": "Batches of SMS, their messages, and how far both are.",
    },
    {"name": "sign-in", "description": "Tokens for people, API keys for programs."},
    {"name": "users", "description": "Accounts and their addresses."},
    {"name": "audit", "description": "Who changed what, and when."},
    {"name": "service", "description": "What the service says about itself and its data."},
]
_VALIDATION_SCHEMAS: Final = ("HTTPValidationError", "ValidationError")


_FOUND: Final = "operations of this path"


class Found(NamedTuple):
    """What the document says about the path of a request."""

    operations: Mapping[str, Any]
    """By method in lower case."""
    parameters: Mapping[str, str]
    """Of the path."""
    template: str
    """The path with names for its parameters."""


class Operations:
    """Finds what the document says about a path; it is made at the first question, when all routes are there."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._paths: list[tuple[re.Pattern[str], Mapping[str, Any], str]] | None = None

    def find(self, scope: Scope) -> Found | None:
        """Look up a request's path; None where the document does not list it.

        Several layers ask; the first answer stays with the request, also in the copies that layers make of its scope.
        """
        if _FOUND not in scope:
            scope[_FOUND] = self._match(scope)
        found: Found | None = scope[_FOUND]
        return found

    def _match(self, scope: Scope) -> Found | None:
        if self._paths is None:
            # Fixed paths first: /countries/image is no country's name.
            templates = sorted(self._app.openapi()["paths"].items(), key=lambda item: "{" in item[0])
            self._paths = [(compile_path(template)[0], operations, template) for template, operations in templates]
        path = _below_prefix(scope)
        for pattern, operations, template in self._paths:
            # As the router does it, to the letter: a path that only one of both knows would slip past the rules.
            if match := pattern.match(path):
                return Found(operations, match.groupdict(), template)
        return None

    def route(self, scope: Scope) -> str:
        """The path as the document has it, ``other`` where it does not list it; for figures, after the answer.

        The outermost layer asks, which sees a trailing slash that the others do not.
        """
        found = self.find(scope)
        if found is None and scope["path"].endswith("/"):
            found = self._match({**scope, "path": scope["path"][:-1]})
        return OTHER if found is None else found.template

    def takes_stream(self, scope: Scope) -> bool:
        """Whether the body of this request is lines of any number."""
        found = self.find(scope)
        body = found.operations.get(scope["method"].lower(), {}).get("requestBody", {}) if found else {}
        return "application/x-ndjson" in body.get("content", {})

    def may_be_cached(self, scope: Scope) -> bool:
        """Whether reading this path may answer 304."""
        found = self.find(scope)
        return found is not None and "304" in found.operations.get("get", {}).get("responses", {})

    def is_about_health(self, scope: Scope) -> bool:
        """Whether a request asks how the service is, which it says however much there is to do."""
        found = self.find(scope)
        return found is not None and all(map(_is_about_health, found.operations.values()))

    def limit(self, scope: Scope) -> Any:
        """The name of the limit under which a request counts; None where it counts under none."""
        found = self.find(scope)
        method = "get" if scope["method"] == "HEAD" else scope["method"].lower()
        return found.operations.get(method, {}).get("x-rate-limit") if found else None

    def formats(self, scope: Scope) -> frozenset[str]:
        """What the parameter ``format`` of this path may be; nothing where there is none."""
        found = self.find(scope)
        parameters = found.operations.get("get", {}).get("parameters", ()) if found else ()
        for parameter in parameters:
            if parameter["name"] == "format":
                name = parameter["schema"]["$ref"].rpartition("/")[2]
                return frozenset(self._app.openapi()["components"]["schemas"][name]["enum"])
        return frozenset()


def _is_about_health(operation: Mapping[str, Any]) -> bool:
    """Whether it is told by the service alone, and not read from the data."""
    return "service" in operation.get("tags", ()) and "304" not in operation.get("responses", {})


def _below_prefix(scope: Scope) -> str:
    """The path below the prefix under which a proxy or a server offers the application."""
    path, prefix = str(scope["path"]), scope.get("root_path", "")
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else path


def links(*operation_ids: str, **parameters: str) -> dict[str, Any]:
    """The ``links`` of an answer: which operations take parts of it, and as which parameters."""
    return {operation_id: {"operationId": operation_id, "parameters": parameters} for operation_id in operation_ids}


def _as_sent(schema: dict[str, Any], place: str) -> dict[str, Any]:
    """What a parameter may be: never null, which only code can say, and in paths and queries never blank."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        schema = {**{name: value for name, value in schema.items() if name != "anyOf"}, **choices[0]}
    is_free = schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}
    return {"minLength": 1, "pattern": r"\S", **schema} if is_free and place != "header" else schema


def correct_openapi(app: FastAPI, *, security_schemes: Mapping[str, Any]) -> None:
    """Add what FastAPI does not know, and leave out the answer 422, which it documents everywhere.

    Invalid requests are 400 here. The rule of access stands in ``x-access``;
    people read it in the description.
    """
    generate = app.openapi

    def corrected() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            for operations in document["paths"].values():
                for method, operation in operations.items():
                    operation["responses"].pop("422", None)
                    if method == "get" and not _is_about_health(operation):
                        operation["x-rate-limit"] = "reads"
                    if "x-rate-limit" in operation:
                        operation["responses"] |= error_answers(429)
                    if "requestBody" in operation:
                        operation["responses"] |= error_answers(408, 413, 415)
                    operation["responses"] = dict(sorted(operation["responses"].items()))
                    for parameter in operation.get("parameters", ()):
                        parameter["schema"] = _as_sent(parameter["schema"], parameter["in"])
                        if parameter["required"] and "examples" in parameter["schema"]:
                            # Swagger UI fills in those that stand here, and none of the schema's.
                            parameter["example"] = parameter["schema"]["examples"][0]
                    if "security" in operation:
                        about = operation.get("description", "")
                        operation["description"] = f"{about}\n\nFor: {operation['x-access']}.".strip()
            document["components"]["securitySchemes"] = dict(security_schemes)
            for name in _VALIDATION_SCHEMAS:
                document["components"]["schemas"].pop(name, None)
        return generate()

    app.openapi = corrected  # type: ignore[method-assign]  # FastAPI's documented way to change the document
