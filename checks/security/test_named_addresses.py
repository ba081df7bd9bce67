"""An address in a request is never called (server-side request forgery)."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.conftest import COUNTRIES, RATES
from tests.core.http.test_access import KEY, NOTHING
from tests.support.upstream import FakeUpstream

HEADERS: Final = ("Origin", "Referer", "X-Forwarded-Host", "Forwarded", "X-Original-URL", "Location", "Destination")
FOREIGN: Final = ("url", "callback", "webhook", "redirect_uri")
"""Parameters and fields that do not exist."""

Call = dict[str, Any]
"""Parts of a request other than method, path and headers."""


@pytest.mark.engines("sqlite")  # independent of the database
@pytest.mark.row("3.2 no request names an address that is called")
async def test_no_request_makes_the_service_call_an_address(service, upstream: FakeUpstream, figure):
    """The address is in one parameter or field at a time, and all others are valid: invalid requests are refused early.

    Broken on purpose: the list of countries fetched its parameter ``q``; a new account fetched its ``fname``.
    """
    codes: set[int] = set()
    asked = 0
    async with service(rate_limit_sign_in="off", admin_api_key=KEY) as client:
        trap = upstream.url("/trap")
        headers = {**dict.fromkeys(HEADERS, trap), "X-API-Key": KEY}
        document = (await client.get("/openapi.json")).json()
        for template, operations in document["paths"].items():
            paths = template.format(**NOTHING), template.format(**dict.fromkeys(NOTHING, quote(trap, safe="")))
            for method, operation in operations.items():
                for path in dict.fromkeys(paths):
                    for call in calls(document, operation, trap):
                        new_person(call, asked)
                        response = await client.request(method, path, headers=headers, **call)
                        asked, codes = asked + 1, {*codes, response.status_code}
    assert set(upstream.hits) <= {COUNTRIES, RATES}
    assert {200, 201, 400, 404} <= codes
    assert max(codes) < 500
    figure(f"{asked:,} requests, calls 0")


def new_person(call: Call, number: int) -> None:
    """Replace a valid email address by a new one, because used ones are refused."""
    body = call.get("json", {})
    if "@" in body.get("email", ""):
        call["json"] = {**body, "email": f"{number}@example.com"}


def calls(document: dict[str, Any], operation: dict[str, Any], trap: str) -> Iterator[Call]:
    """The example of the operation, and copies with the address in one place each."""
    fields = example(document, operation)
    as_body = "data" if "application/x-www-form-urlencoded" in str(operation.get("requestBody")) else "json"
    bodies = [fields, *({**fields, name: trap} for name in (*fields, *FOREIGN))] if fields else [None]
    for body in bodies:
        yield {as_body: body} if body else {}
    usual = {as_body: fields} if fields else {}
    queries = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]
    for name in (*queries, *FOREIGN):
        yield {**usual, "params": {name: trap}}


def example(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """The body that the document shows as an example; empty if there is none or it is not an object."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        schema = document["components"]["schemas"].get(name, {})
        return dict(schema.get("examples", [dict.fromkeys(schema.get("properties", {}), "password")])[0])
    return {}
