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


@pytest.mark.parametrize(
    ("origins", "method", "headers", "status"),
    [
        ("*", "GET", (), 200),
        ("*", "HEAD", (), 200),
        ("*", "GET", ("If-None-Match", "X-Request-ID"), 200),
        ("*", "GET", ("X-API-Key",), 400),
        ("*", "POST", (), 400),
        ("*", "DELETE", (), 400),
        ("*", "PUT", (), 400),
        (f"https://other.example {PAGE}", "DELETE", ("X-API-Key", "Content-Type"), 200),
        (PAGE.upper(), "DELETE", (), 200),
        ("https://other.example", "DELETE", (), 400),
    ],
)
async def test_any_page_may_read_and_named_pages_may_write(start, origins, method, headers, status):
    async with start(cors_origins=origins) as client:
        response = await client.options("/countries/ghana", headers=preflight(method, *headers))

    allowed = "*" if origins == "*" else PAGE if PAGE in origins.lower() else None
    assert (response.status_code, response.headers.get("Access-Control-Allow-Origin")) == (status, allowed)
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert (response.headers["Access-Control-Allow-Methods"] == "GET, HEAD") == (origins == "*")
    if method == "POST":
        assert response.json() == {"error": "Validation failed", "details": "Disallowed CORS method"}


async def test_only_a_named_page_can_read_the_answer_and_its_headers(start):
    async with start(cors_origins=f"https://other.example {PAGE}", admin_api_key="k") as client:
        answer = await client.delete("/countries/ghana", headers={"Origin": PAGE})
        foreign = await client.get("/health/live", headers={"Origin": "https://third.example"})

    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert answer.headers["Access-Control-Expose-Headers"] == EXPOSED
    assert "Access-Control-Allow-Origin" not in foreign.headers


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


async def test_service_that_is_open_says_so_at_its_start(start, capsys):
    message = "| WARNING | - | ADMIN_API_KEY is not set: anyone on this machine may change everything\n"
    async with start(log_level="WARNING"):
        opened = capsys.readouterr().err
    async with start(log_level="WARNING", admin_api_key="k"):
        closed = capsys.readouterr().err
    async with start(log_level="WARNING", admin_api_key="k", allow_anonymous="refresh"):
        partly = capsys.readouterr().err

    assert opened.count(message) == 1
    assert "WARNING" not in closed
    assert "| WARNING | - | ALLOW_ANONYMOUS=refresh: anyone who can reach this service may do that\n" in partly
