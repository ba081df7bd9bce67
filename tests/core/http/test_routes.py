"""The route table: what it knows of each route, and which route it finds for a path."""

import time
from collections.abc import Callable
from itertools import product

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.routing import Match, compile_path

from app.core.http.access import Rule
from app.core.http.dependencies import get_data
from app.core.http.routes import LONGEST_PATH, RouteTable
from app.main import create_app
from tests.conftest import make_settings


@pytest.fixture(scope="module")
def app():
    return create_app(make_settings())


@pytest.fixture(scope="module")
def table(app):
    return RouteTable(app)


def scope(path: str, **changes: str) -> dict[str, str]:
    return {"type": "http", "method": "GET", "path": path, **changes}


def test_table_knows_each_operation_as_the_document_describes_it(app, table):
    for template, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            route = table.describe(template, method)
            parameters = [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"]

            assert list(route.parameters) == parameters
            assert list(route.media_types) == list(operation.get("requestBody", {}).get("content", {}))
            assert route.access.rule == operation["x-access"]
            assert route.access.scope == operation.get("x-scope")
            assert route.rate_limit == operation.get("x-rate-limit")
            assert route.is_cacheable == ("304" in operation["responses"])


def test_route_with_a_snapshot_documents_304_which_lets_the_cache_keep_it(app):
    contexts = [each for each in iter_route_contexts(app.routes) if isinstance(each.original_route, APIRoute)]
    kept = {route.name for route in contexts if 304 in route.responses}
    used = {each.name: getattr(each.endpoint, "__code__").co_names for each in contexts}  # noqa: B009
    with_snapshot = {name for name, names in used.items() if get_data.__name__ in names}

    assert len(with_snapshot) > 5
    assert kept == with_snapshot | {"get_series", "get_series_to_latest", "get_root"}


def test_facts_that_the_document_does_not_list(table):
    formats = {path: table.find_route(scope(path)).formats for path in ("/", "/countries", "/status")}
    of_service = ("/", "/status", "/health/live", "/metrics")
    health = [path for path in of_service if table.find_route(scope(path)).is_about_health]
    stream = table.find_route(scope("/tracking/sms_documents/1/stream", method="POST"))

    assert formats == {"/": {"html", "json"}, "/countries": {"csv", "json", "ndjson"}, "/status": set()}
    assert health == ["/health/live", "/metrics"]
    assert stream.takes_stream


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/countries/image", "/countries/image", {}),
        ("/countries/a\nb", "/countries/{name}", {"name": "a\nb"}),
        ("/users/me", "/users/me", {}),
        ("/rates/2026-01-01..2026-01-31", "/rates/{from}..{to}", {"from": "2026-01-01", "to": "2026-01-31"}),
        ("/rates/2026-01-01..", "/rates/{from}..", {"from": "2026-01-01"}),
        ("/rates/latest", "/rates/latest", {}),
        ("/rates/....", "/rates/{from}..{to}", {"from": ".", "to": "."}),
        ("/rates/a...b", "/rates/{from}..{to}", {"from": "a.", "to": "b"}),
        ("/rates/..b", "/rates/{date}", {"date": "..b"}),
        ("/docs", "/docs", {}),
        ("/assets/page.css", "/assets/{name}", {"name": "page.css"}),
        ("/users\n", None, {}),
        ("/countries/", None, {}),
        ("/countries//history", None, {}),
        ("//countries", None, {}),
        ("", None, {}),
    ],
)
def test_path_finds_its_route(table, path, template, parameters):
    match = table.find(scope(path))

    assert (match and match.template, match.parameters if match else {}) == (template, parameters)


def test_table_finds_no_path_that_the_router_does_not_match(app, table):
    pieces = ("", ".", "..", "a", "a..b", "...", "....", "\n", "%", "me", "image")
    for parts in product(("/rates/", "/users/", "/countries/"), pieces, pieces, ("", "/", "/x", "\n")):
        path = "".join(parts)
        match = table.find(scope(path))
        if match is not None:
            found = compile_path(match.template)[0].match(path)
            assert (path, found and found.groupdict()) == (path, match.parameters)


def test_path_that_no_route_can_take_is_not_found(table):
    assert table.find(scope("/countries/" + "a" * (LONGEST_PATH - 11))) is not None
    assert table.find(scope("/countries/" + "a" * (LONGEST_PATH - 10))) is None


PIECES = (
    ".",
    "..",
    "/",
    "//",
    "/x",
    "%",
    "%2e",
    "%2F",
    "\n",
    "{",
    "}",
    "{from}..{to}",
    "a",
    "é",
    "\U0001f600",
    " ",
    "\0",
)
ROUTES = ("", "/rates/", "/countries/", "/users/", "/users/1/addresses/", "/tracking/sms_documents/", "/assets/")
LARGEST_HEAD = 65_536
MOST_SECONDS = 0.002


def cpu_seconds(work: Callable[[], object]) -> float:
    """The best of several times, which other processes disturb least."""
    times = []
    for _ in range(5):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


def matched_by_fastapi(app: FastAPI, path: str) -> list[Match]:
    return [route.matches({**scope(path), "root_path": "", "headers": []})[0] for route in app.router.routes]


@given(
    start=st.sampled_from(ROUTES),
    parts=st.lists(st.tuples(st.sampled_from(PIECES), st.integers(1, 65_000)), min_size=1, max_size=4),
    end=st.sampled_from(("", "/", "/x", "..", "\n", "/history")),
)
@example(start="/rates/", parts=[(".", 65_000)], end="/x")
@example(start="/users/", parts=[("1", 65_000)], end="/addresses/1")
@settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_of_64_kib_keeps_the_process_busy(app, table, start, parts, end):
    path = start + "".join(piece * number for piece, number in parts)
    path = path[: LARGEST_HEAD // max(1, len(path.encode()) // len(path)) - len(end)] + end

    assert cpu_seconds(lambda: table.find(scope(path))) < MOST_SECONDS
    assert cpu_seconds(lambda: table.label(scope(path))) < MOST_SECONDS
    # FastAPI sees only paths that the table has found, which are shorter. Longer ones take it more time, in proportion.
    assert cpu_seconds(lambda: matched_by_fastapi(app, path[:LONGEST_PATH])) < MOST_SECONDS
    assert cpu_seconds(lambda: matched_by_fastapi(app, path)) < 10 * MOST_SECONDS


def test_routes_of_other_kinds_are_in_the_table_too():
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter(prefix="/compat")
    router.add_api_route("/plain", lambda: None, openapi_extra={"x-access": "reader"}, include_in_schema=False)
    router.add_api_route("/plain", lambda: None, methods=["PUT", "PATCH"])
    app.include_router(router)
    app.mount("/files", FastAPI())
    table = RouteTable(app)
    plain, below = table.find(scope("/compat/plain")), table.find(scope("/files/a/b"))
    assert plain is not None
    assert below is not None

    rules = {method: route.access.rule for method, route in plain.routes.items()}
    assert rules == {"GET": Rule.READER, "PUT": Rule.ADMIN, "PATCH": Rule.ADMIN}
    assert (below.template, list(below.routes), below.routes["GET"].parameters) == ("/files", ["GET"], None)
    assert plain.label == below.label == table.label(scope("/nowhere")) == "other"
