"""The layers around the application together: CORS, and the order in which they stand."""

import pytest

from tests.conftest import make_settings, serving

PAGE = "https://page.example"
EXPOSED = (
    "X-Total-Count, Link, ETag, Age, Cache-Status, X-Request-ID, Retry-After, Location, RateLimit, RateLimit-Policy"
)


@pytest.fixture
def start(tmp_path):
    def start(**changes):
        return serving(make_settings(database_url=f"sqlite:///{tmp_path}/x.db", **changes))

    return start


def preflight(method: str, *headers: str) -> dict[str, str]:
    asked = {"Access-Control-Request-Headers": ", ".join(headers)} if headers else {}
    return {"Origin": PAGE, "Access-Control-Request-Method": method, **asked}


async def test_any_page_may_read_and_see_our_headers_but_without_credentials(start):
    async with start() as client:
        response = await client.get("/health/live", headers={"Origin": PAGE, "Cookie": "session=1"})

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Access-Control-Expose-Headers"] == "*"
    assert "Access-Control-Allow-Credentials" not in response.headers


async def test_any_page_may_not_write(start):
    async with start() as client:
        reading = [await client.options("/countries", headers=preflight(method)) for method in ("GET", "HEAD")]
        writing = [await client.options("/countries/ghana", headers=preflight(m)) for m in ("POST", "DELETE", "PUT")]
        keyed = await client.options("/countries", headers=preflight("GET", "X-API-Key"))
        conditional = await client.options("/countries", headers=preflight("GET", "If-None-Match", "X-Request-ID"))

    assert [response.status_code for response in reading] == [200, 200]
    assert [response.status_code for response in writing] == [400, 400, 400]
    assert {response.headers["Access-Control-Allow-Methods"] for response in (*reading, *writing)} == {"GET, HEAD"}
    assert (keyed.status_code, conditional.status_code) == (400, 200)
    assert writing[0].json() == {"error": "Validation failed", "details": "Disallowed CORS method"}


async def test_named_pages_may_write_with_the_key(start):
    async with start(cors_origins=f"https://other.example {PAGE}") as client:
        allowed = await client.options("/countries/ghana", headers=preflight("DELETE", "X-API-Key", "Content-Type"))
        answer = await client.delete("/nowhere", headers={"Origin": PAGE})

    assert allowed.status_code == 200
    assert allowed.headers["Access-Control-Allow-Origin"] == PAGE
    assert "DELETE" in allowed.headers["Access-Control-Allow-Methods"]
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Expose-Headers"] == EXPOSED


async def test_other_pages_are_told_nothing_where_pages_are_named(start):
    async with start(cors_origins="https://other.example") as client:
        refused = await client.options("/countries/ghana", headers=preflight("DELETE"))
        answer = await client.get("/health/live", headers={"Origin": PAGE})

    assert refused.status_code == 400
    assert "Access-Control-Allow-Origin" not in refused.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_page_can_read_the_refusal_of_a_missing_key(start):
    async with start(cors_origins=PAGE, admin_api_key="k") as client:
        response = await client.delete("/countries/ghana", headers={"Origin": PAGE})

    assert response.status_code == 401
    assert response.headers["Access-Control-Allow-Origin"] == PAGE


async def test_every_layer_that_answers_by_itself_still_gets_a_request_id(start):
    async with start(admin_api_key="k") as client:
        responses = [
            await client.options("/countries", headers=preflight("POST")),
            await client.delete("/countries/ghana"),
            await client.get("/countries?limit=0"),
            await client.get("/nowhere"),
            await client.request("PUT", "/countries", headers={"X-API-Key": "k"}),
        ]

    assert [response.status_code for response in responses] == [400, 401, 400, 404, 405]
    assert all(response.headers["X-Request-ID"] for response in responses)


async def test_open_service_says_so_at_its_start(start, capsys):
    message = "| WARNING | - | ADMIN_API_KEY is not set: everybody who reaches this service may do everything with it\n"
    async with start(log_level="WARNING"):
        opened = capsys.readouterr().err
    async with start(log_level="WARNING", admin_api_key="k"):
        closed = capsys.readouterr().err

    assert opened.count(message) == 1
    assert "ADMIN_API_KEY" not in closed
