"""The contract of a route: its methods, query parameters and media types."""

from collections import Counter
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers

from app.core.errors import ValidationFailed
from app.core.http.errors import http_error
from app.core.http.middleware.admission import PendingRequest

_LONGEST_QUERY: Final = 16 * 2**10
"""Bytes. No valid query is as long, even if every character of every parameter is percent-encoded."""
_MOST_PARAMETERS: Final = 100
"""No route takes more than a dozen. Parsing and reporting tens of thousands would hold up every other request."""


async def check_contract(request: PendingRequest) -> None:
    """Check: the route takes this method, these query parameters and this type of body.

    An unknown, empty or repeated parameter is refused, never ignored: a
    misspelt filter must not look like an answer. For a wrong method ``Allow``
    lists all methods of the path, which the framework spreads over routes.

    Raises:
        AppError: 404 without such a path, 405 if it has other methods, 415 if the route does not read such a body.
        ValidationFailed: A query parameter is wrong.
    """
    if request.match is None:
        raise http_error(404)
    route, routes, scope = request.route, request.match.routes, request.scope
    if route is None:
        allowed = {*routes, *(["HEAD"] if "GET" in routes else [])}
        methods = ", ".join(sorted(allowed))
        raise http_error(405, f"Allowed methods: {methods}", headers={"Allow": methods})
    _check_media_type(Headers(scope=scope), route.media_types)
    if not scope["query_string"] or route.parameters is None:
        return
    query: bytes = scope["query_string"]
    if len(query) > _LONGEST_QUERY or query.count(b"&") >= _MOST_PARAMETERS:
        raise ValidationFailed({"query": f"must have at most {_MOST_PARAMETERS} parameters and {_LONGEST_QUERY} bytes"})
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    if problems := _parameter_problems(pairs, route.parameters):
        raise ValidationFailed(problems)


def _check_media_type(headers: Headers, allowed: Sequence[str]) -> None:
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type.startswith("application/") and media_type.endswith("+json"):
        media_type = "application/json"
    if allowed and has_body and media_type not in allowed:
        raise http_error(415, f"The header Content-Type must be {' or '.join(allowed)}")
    if allowed and has_body and headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise http_error(415, "The body must not be compressed", headers={"Accept-Encoding": "identity"})


def _parameter_problems(pairs: list[tuple[str, str]], allowed: Sequence[str]) -> dict[str, str]:
    problems: dict[str, str] = {}
    hint = f"allowed: {', '.join(allowed)}" if allowed else "this request takes none"
    times = Counter(name for name, _ in pairs)
    for name, value in pairs:
        if name not in allowed:
            problems[name[:100]] = f"unknown parameter; {hint}"
        elif times[name] > 1:
            problems[name] = "is given more than once"
        elif not value.strip():
            problems[name] = "must not be blank"
    return problems
