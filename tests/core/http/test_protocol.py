"""HTTP on every route: methods, slashes, parameters and bodies; none of it depends on the database engine."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from app.main import create_app
from tests.conftest import make_settings
from tests.core.http.conftest import LIMIT, serve_sqlite

UBID = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"


@pytest.fixture(scope="module")
async def bare(tmp_path_factory, sqlite_template):
    """The service with an empty database, for all that is refused."""
    async with serve_sqlite(tmp_path_factory.mktemp("bare"), sqlite_template) as client:
        yield client
        assert (await client.get("/countries")).json() == [], "a test wrote what the others share"


@pytest.fixture
async def filled(tmp_path, sqlite_template):
    """The service with data, so that every route has an answer."""
    async with serve_sqlite(tmp_path, sqlite_template) as client:
        assert (await client.post("/countries/refresh")).status_code == 200
        address = {"street": "12 Ridge Road", "city": "Accra", "country": "GH"}
        user = {"fname": "Ada", "lname": "Mensah", "email": "ada@example.com", "addresses": [address]}
        assert (await client.post("/users", json={**user, "password": "correct horse"})).status_code == 201
        transfer = {"UBID": UBID, "SMScount": 1, "documents": 1, "fileName": "a.csv", "origName": "b.csv"}
        assert (await client.post("/tracking/sms_transfers", json=transfer)).status_code == 201
        yield client


async def readable_paths(client: Any) -> list[str]:
    paths = (await client.get("/openapi.json")).json()["paths"]
    of_no_account = [path for path in paths if not path.startswith("/users/me")]
    days = {"date": "2026-11-21", "from": "2026-09-01", "to": "2026-11-21"}
    given = {"name": "ghana", "code": "ghs", "user_id": 1, "address_id": 1, "ubid": UBID, **days}
    needed = {"/convert": "?from=NGN&to=EUR"}
    documented = [path.format(**given) + needed.get(path, "") for path in of_no_account if "get" in paths[path]]
    assert len(documented) >= 20
    return [*documented, "/openapi.json", "/docs", "/redoc"]


def without_id(response: Any) -> dict[str, str]:
    """The headers that two answers share; the figures grow with each of them."""
    own = {"x-request-id", *({"content-length"} if response.url.path == "/metrics" else ())}
    return {name: value for name, value in response.headers.items() if name not in own}


async def test_head_answers_like_get_without_the_body_on_every_route(filled):
    for path in await readable_paths(filled):
        plain = {"Accept-Encoding": "identity"}
        read, head = await filled.get(path, headers=plain), await filled.head(path, headers=plain)

        assert (path, read.status_code, head.status_code) == (path, 200, 200)
        assert (path, head.content, without_id(head)) == (path, b"", without_id(read))
        assert int(head.headers["Content-Length"]) == len(read.content) > 0 or path == "/metrics"


async def test_trailing_slash_makes_no_difference_on_any_route(filled):
    for path in await readable_paths(filled):
        before, _, query = path.partition("?")
        plain, slash = await filled.get(path), await filled.get(f"{before.rstrip('/')}/?{query}".rstrip("?"))

        assert (path, slash.status_code) == (path, 200)
        # How busy the pool is changes from moment to moment.
        assert slash.content == plain.content or path in ("/health/ready", "/metrics")
    assert (await filled.post("/countries/refresh/")).status_code == 200
    assert (await filled.delete("/countries/ghana/")).status_code == 200


@pytest.mark.parametrize("path", ["/nowhere", "/countries/a/b", "/countries/ghana%2Fx", "/COUNTRIES", "/v1/countries"])
async def test_unknown_path_is_answered_in_the_shape_of_every_error(bare, path):
    for method in ("GET", "POST", "DELETE", "HEAD"):
        response = await bare.request(method, path)

        assert (response.status_code, response.headers["Cache-Control"]) == (404, "no-store")
        assert response.content == (b"" if method == "HEAD" else b'{"error":"Not found"}')


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/countries/refresh", "POST"),
        ("HEAD", "/countries/refresh", "POST"),
        ("DELETE", "/countries/refresh", "POST"),
        ("POST", "/countries", "GET, HEAD"),
        ("POST", "/countries/", "GET, HEAD"),
        ("DELETE", "/status", "GET, HEAD"),
        ("DELETE", "/countries/image", "GET, HEAD"),
        ("PATCH", "/countries/ghana", "DELETE, GET, HEAD"),
        ("OPTIONS", "/countries/ghana", "DELETE, GET, HEAD"),
        ("PUT", "/", "GET, HEAD"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("BREW", "/countries", "GET, HEAD"),
    ],
)
async def test_wrong_method_is_answered_with_all_allowed_ones(bare, method, path, allowed):
    response = await bare.request(method, path)

    assert (response.status_code, response.headers["Allow"]) == (405, allowed)
    assert response.headers["Cache-Control"] == "no-store"
    assert (
        response.content == b""
        if method == "HEAD"
        else response.json()
        == {
            "error": "Method not allowed",
            "details": f"Allowed methods: {allowed}",
        }
    )


NO_PARAMETERS = {"verbose": "unknown parameter; this request takes none"}
FORCE = "must be true, false, or currency codes separated by commas, such as SYP"


@pytest.mark.parametrize(
    ("method", "url", "details"),
    [
        *(("GET", f"/{path}?verbose=1", NO_PARAMETERS) for path in ("status", "health/live", "health/ready")),
        ("GET", "/countries/image?verbose=1", NO_PARAMETERS),
        ("GET", "/countries/gh?verbose=1", {"verbose": "unknown parameter; allowed: fields, decimals"}),
        ("POST", "/countries/refresh?force=maybe", {"force": FORCE}),
        ("POST", "/countries/refresh?force=", {"force": "must not be blank"}),
        ("POST", "/countries/refresh?force=true&force=true", {"force": "is given more than once"}),
        ("POST", "/countries/refresh?forced=true", {"forced": "unknown parameter; allowed: force"}),
    ],
)
async def test_wrong_parameter_is_refused_by_name(bare, method, url, details):
    response = await bare.request(method, url)

    assert (response.status_code, response.json()) == (400, {"error": "Validation failed", "details": details})


@pytest.mark.parametrize("query", ["a&" * 32_000, "&".join(map(str, range(101))), "q=" + "%C3%28" * 2_731])
async def test_query_with_too_much_in_it_is_refused_as_a_whole(bare, query):
    response = await bare.get(f"/countries?{query}")

    details = {"query": "must have at most 100 parameters and 16384 bytes"}
    assert (response.status_code, response.json()) == (400, {"error": "Validation failed", "details": details})


def integer_parameters(paths: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Method, address and name of each documented integer in a path or query, with the value 1_0."""
    for path, operations in paths.items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", []):
                name, schema = parameter["name"], parameter["schema"]
                if "integer" in {one.get("type") for one in (schema, *schema.get("anyOf", []))}:
                    address = re.sub(r"{\w+}", "1", path.replace(f"{{{name}}}", "1_0"))
                    yield method, address + (f"?{name}=1_0" if parameter["in"] == "query" else ""), name


async def test_integer_with_an_underscore_is_refused_in_every_path_and_query(bare):
    asked = set()
    for method, address, name in integer_parameters((await bare.get("/openapi.json")).json()["paths"]):
        if not address.startswith("/users/me"):  # needs an account
            response = await bare.request(method, address)

            assert response.status_code == 400, address
            assert response.json()["details"][name] == "must be a whole number", address
            asked.add(name)

    assert asked == {"limit", "offset", "user_id", "address_id"}


async def test_encoded_slash_is_a_name_and_not_the_list(loaded):
    assert (await loaded.get("/countries/%2F")).status_code == 404


async def test_rules_hold_below_a_prefix(tmp_path):
    app = create_app(make_settings(database_url=f"sqlite:///{tmp_path}/x.db"))
    transport = httpx.ASGITransport(app, root_path="/api")
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        response = await client.get("/api/status?regoin=x")

    assert (response.status_code, response.json()["error"]) == (400, "Validation failed")


JSON = {"Content-Type": "application/json"}


async def test_body_of_more_values_than_can_be_parsed_at_once_is_refused(parcels):
    largest = b'{"name": "a", "more": [' + b"1," * 99_996 + b"1]}"
    assert (await parcels.post("/parcels", content=largest, headers=JSON)).status_code == 200
    refused = await parcels.post("/parcels", content=largest.replace(b"1]", b"1,1,1,1]"), headers=JSON)

    details = "The body may have at most 100,000 values; send several, or a stream"
    assert (refused.status_code, refused.json()) == (413, {"error": "Request body too large", "details": details})


async def test_body_that_announces_more_bytes_than_the_limit_is_refused(parcels):
    largest = b'{"name": "a"}'.ljust(LIMIT)
    assert (await parcels.post("/parcels", content=largest, headers=JSON)).status_code == 200
    for length in (str(LIMIT + 1), "9" * 5000):
        response = await parcels.post("/parcels", content=b"{}", headers={**JSON, "Content-Length": length})

        assert response.status_code == 413
        details = f"The body may have at most {LIMIT} bytes"
        assert response.json() == {"error": "Request body too large", "details": details}
        assert response.headers["Cache-Control"] == "no-store"


async def test_no_body_but_documents_may_have_more_than_16_kib(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    codes = {}
    for template, operations in paths.items():
        for method, operation in operations.items():
            for media_type in operation.get("requestBody", {}).get("content", {}):
                path = template.format(ubid="0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10", user_id=1, address_id=1)
                headers = {"Content-Type": media_type, "Content-Length": "16385"}
                response = await client.request(method, path, content=b"x", headers=headers)
                codes[f"{method.upper()} {template}"] = response.status_code

    large = {name for name, code in codes.items() if code not in (401, 413)}  # 401: only for accounts
    assert large == {"POST /tracking/sms_documents", "POST /tracking/sms_documents/{ubid}/stream"}
    assert len(codes) > 8


async def test_body_that_stops_arriving_is_408(parcels, monkeypatch):
    monkeypatch.setattr("app.core.http.middleware.body_limit.LONGEST_PAUSE", 0.05)

    async def stopping() -> AsyncIterator[bytes]:
        yield b'{"name": '
        await asyncio.sleep(60)

    response = await parcels.post("/parcels", content=stopping(), headers=JSON)

    details = "The body stopped arriving, or took more than 0.05 s and one for each 16 KiB"
    assert (response.status_code, response.json()) == (408, {"error": "Request timeout", "details": details})
    assert response.headers["connection"] == "close"


async def test_body_that_streams_too_many_bytes_is_refused_as_soon_as_it_does(parcels):
    sent = 0

    async def stream() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 10_000
            yield b" " * 10_000

    response = await parcels.post("/parcels", content=stream(), headers=JSON)

    details = f"The body may have at most {LIMIT} bytes"
    assert (response.status_code, response.json()) == (413, {"error": "Request body too large", "details": details})
    assert sent <= LIMIT + 20_000


WRONG_TYPE = "The header Content-Type must be application/json"


@pytest.mark.parametrize(
    ("headers", "details"),
    [
        ({"Content-Type": "text/plain"}, WRONG_TYPE),
        ({"Content-Type": "application/x-www-form-urlencoded"}, WRONG_TYPE),
        ({"Content-Type": "multipart/form-data; boundary=x"}, WRONG_TYPE),
        ({"Content-Type": ""}, WRONG_TYPE),
        ({**JSON, "Content-Encoding": "gzip"}, "The body must not be compressed"),
        (JSON, None),
        ({"Content-Type": "Application/JSON; charset=utf-8"}, None),
        ({"Content-Type": "application/merge-patch+json"}, None),
        ({**JSON, "Content-Encoding": "Identity"}, None),
    ],
)
async def test_body_is_json_in_any_spelling_and_not_compressed(parcels, headers, details):
    response = await parcels.post("/parcels", content=b'{"name": "a"}', headers=headers)

    if details is None:
        assert (response.status_code, response.json()) == (200, {"name": "a", "weight": 0.0, "pieces": 1})
    else:
        expected = {"error": "Unsupported media type", "details": details}
        assert (response.status_code, response.json()) == (415, expected)
        assert response.headers.get("accept-encoding") == ("identity" if "compressed" in details else None)
