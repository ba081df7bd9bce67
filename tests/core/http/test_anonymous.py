"""Callers without a credential: what they may do, by settings, address, host and the site of the page."""

import asyncio
from itertools import product
from typing import Any

import httpx
import pytest

from app.core.config.settings import AllowAnonymous
from app.main import app as default_app
from app.main import create_app
from tests.conftest import make_settings, take_routes
from tests.core.http.test_access import KEY, UNAUTHORIZED, every_route
from tests.support.service import ServedProcess, ServiceProcess

PUBLIC_URL = "https://Data.Example.com:443/api"
LOCAL: dict[str, Any] = {"client": ("127.0.0.1", 50_000), "host": "localhost:8000"}
STRANGER: dict[str, Any] = {"client": ("203.0.113.5", 50_000), "host": "data.example.com"}
WRITES = {
    "POST /countries/refresh?a=b": AllowAnonymous.REFRESH,
    "DELETE /countries/nowhere?a=b": AllowAnonymous.COUNTRIES,
    "POST /users?a=b": AllowAnonymous.ALL,
    "POST /tracking/sms_transfers?a=b": AllowAnonymous.ALL,
    "POST /nowhere": AllowAnonymous.ALL,
}
"""Changes, none of which is done, with the least ALLOW_ANONYMOUS that opens them."""
CROSS_SITE = {
    "error": "Forbidden",
    "details": "A page of another site sent this request without a key or token; send one, or add the origin of the "
    "page to CORS_ORIGINS",
}


class Caller:
    """Sends requests to the application of these settings, which has no database."""

    def __init__(self, **settings: Any) -> None:
        self.app = create_app(make_settings(database_url="sqlite:////nowhere/x.db", **settings))
        take_routes(self.app, default_app)

    async def send(self, request: str, *, client: Any, host: str | None, **headers: Any) -> httpx.Response:
        """Send from this address with this ``Host``; underscores in names of headers are hyphens."""
        method, url = request.split()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}

        async def app(scope: Any, receive: Any, send: Any) -> None:
            others = [field for field in scope["headers"] if field[0] != b"host"]
            hosts = [(b"host", host.encode())] if host is not None else []
            await self.app({**scope, "client": client, "headers": hosts + others}, receive, send)

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://placeholder") as sender:
            return await sender.request(method, url, headers=fields)


def is_admitted(response: httpx.Response) -> bool:
    if response.status_code == 401:
        assert response.json() == UNAUTHORIZED
        return False
    assert response.status_code in (400, 404), response.text
    return True


@pytest.fixture(scope="module")
def open_service():
    return Caller(public_url=PUBLIC_URL)


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("opened", [None, *AllowAnonymous])
async def test_settings_and_place_of_the_caller_decide_what_needs_no_key(key, opened):
    caller = Caller(admin_api_key=key, allow_anonymous=opened)
    for (request, needed), place in product(WRITES.items(), (LOCAL, STRANGER)):
        is_open = opened is not None and opened.includes(needed)
        is_here = key is None and place is LOCAL

        response = await caller.send(request, **place)

        assert (request, place, is_admitted(response)) == (request, place, is_open or is_here)


OWN_NAMES = (
    *("localhost", "LOCALHOST:8000", "service", "mybox:80", "127.0.0.1:8000", "192.168.1.5", "[::1]", "[::1]:8000"),
    *("[fe80::1]:8000", "data.example.com", "Data.Example.COM:443"),
)
OTHER_NAMES = (
    *("evil.example", "evil.example:8000", "localhost.evil.example", "localhost.", "127.1", "127.0.0.1.evil.example"),
    *("data.example.com.", "xdata.example.com", "", ":8000"),
)
PLACES: list[tuple[bool, dict[str, Any]]] = [
    (True, {}),
    (True, {"client": ("127.0.0.2", 1)}),
    (True, {"client": ("::1", 1)}),
    (True, {"client": ("::ffff:127.0.0.1", 1)}),
    (True, {"client": None}),  # a Unix socket
    (False, {"client": ("192.168.1.7", 1)}),
    (False, {"client": ("172.17.0.1", 1)}),
    (False, {"client": ("::ffff:192.168.1.7", 1)}),
    (False, {"client": ("", 1)}),
    (False, {"client": ("localhost.example", 1)}),
    *((True, {"host": host}) for host in OWN_NAMES),
    *((False, {"host": host}) for host in OTHER_NAMES),
    *((False, {name: "127.0.0.1"}) for name in ("X_Forwarded_For", "X_Real_IP", "X_Forwarded_Host")),
    (False, {"Forwarded": "for=127.0.0.1"}),
    (False, {"Via": "1.1 proxy"}),
]


@pytest.mark.parametrize(("is_here", "changes"), PLACES, ids=[str(changes) for _, changes in PLACES])
async def test_only_callers_on_this_machine_need_no_key(open_service, is_here, changes):
    response = await open_service.send("POST /users?a=b", **{**LOCAL, **changes})

    assert is_admitted(response) is is_here


async def test_stranger_to_a_service_without_a_key_may_read_what_is_public_and_nothing_else(service):
    async with service() as client:
        client.headers["Host"] = "evil.example"
        async for method, path, rule in every_route(client):
            response = await client.request(method, path, content=b"{", headers={"Content-Type": "application/json"})

            assert (path, response.status_code == 401) == (path, rule != "everyone")


SITES: list[tuple[bool, dict[str, str]]] = [
    (True, {"Sec_Fetch_Site": "same-origin"}),
    (True, {"Sec_Fetch_Site": "none"}),
    (True, {"Sec_Fetch_Site": "same-origin", "Origin": "http://localhost:5173"}),  # a proxy that changes Host
    (True, {"Origin": "http://localhost:8000"}),
    (True, {"Origin": "https://data.example.com"}),
    (True, {"Origin": "https://app.example", "Sec_Fetch_Site": "cross-site"}),
    (False, {"Sec_Fetch_Site": "cross-site"}),
    (False, {"Sec_Fetch_Site": "same-site"}),
    (False, {"Sec_Fetch_Site": "whatever"}),
    (False, {"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost:8000"}),
    (False, {"Origin": "https://evil.example"}),
    (False, {"Origin": "http://localhost:3000"}),
    (False, {"Origin": "http://localhost"}),
    (False, {"Origin": "https://app.example.evil.example"}),
    (False, {"Origin": "null"}),
    (False, {"Origin": "*"}),
    (False, {"Origin": "http://[::1"}),
]


@pytest.mark.parametrize(("is_own", "headers"), SITES, ids=[str(headers) for _, headers in SITES])
async def test_page_of_another_site_needs_a_credential(is_own, headers):
    """Also where ALLOW_ANONYMOUS lets strangers in, and for reading: with CORS_ORIGINS=* the page sees the answer."""
    for settings, place in (({}, LOCAL), ({"admin_api_key": KEY, "allow_anonymous": "all"}, LOCAL)):
        caller = Caller(public_url=PUBLIC_URL, cors_origins="https://app.example", **settings)
        for request in ("POST /users?a=b", "GET /users?a=b"):
            response = await caller.send(request, **place, **headers)

            expected = (403, CROSS_SITE) if not is_own else (400, response.json())
            assert (request, response.status_code, response.json()) == (request, *expected)


async def test_page_of_any_site_reads_what_is_public_and_writes_with_a_credential():
    caller, foreign = Caller(admin_api_key=KEY), {"Origin": "https://evil.example", "Sec_Fetch_Site": "cross-site"}

    assert (await caller.send("GET /health/live", **LOCAL, **foreign)).status_code == 200
    assert (await caller.send("POST /users?a=b", **LOCAL, **foreign, X_API_Key=KEY)).status_code == 400
    assert (await caller.send("POST /users?a=b", **LOCAL, **foreign)).json() == UNAUTHORIZED


@pytest.mark.parametrize(
    ("host", "settings", "starts"),
    [
        ("localhost", {}, True),
        ("0.0.0.0", {}, False),
        ("::", {}, False),
        ("0.0.0.0", {"allow_anonymous": "refresh"}, True),
    ],
)
async def test_serve_without_a_key_listens_on_loopback_only(tmp_path, sqlite_template, host, settings, starts):
    process = ServedProcess(tmp_path, host=host, database_url=f"sqlite:///{tmp_path}/x.db", **settings)
    if starts:
        async with process:
            pass
        return
    process.launch()
    await asyncio.to_thread(process.process.wait, 30)

    assert (process.process.returncode, process.log.read_text()) == (
        1,
        f"Without ADMIN_API_KEY the service does not listen on HOST {host}, which other machines can reach: set "
        "ADMIN_API_KEY (openssl rand -hex 32 creates one), or ALLOW_ANONYMOUS to what anyone may do\n",
    )


async def test_plain_uvicorn_without_a_key_is_closed_to_requests_through_a_proxy(tmp_path, sqlite_template):
    url = f"sqlite:///{tmp_path}/x.db"
    async with ServiceProcess(tmp_path, database_url=url) as process, httpx.AsyncClient(base_url=process.url) as client:
        for headers in ({}, {"X-Forwarded-For": "203.0.113.5"}, {"Host": "evil.example"}):
            response = await client.post("/users?a=b", headers=headers)

            assert (headers, is_admitted(response)) == (headers, not headers)
