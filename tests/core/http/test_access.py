"""Who may do what: a walk over every route, as everybody who may come along, decided before the body is read."""

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from app.core.http.access import Access, KeyScope, Role, Rule
from app.core.http.routes import RouteInfo, RouteMatch, RouteTable
from app.main import create_app
from app.users.credentials import new_secret
from tests.conftest import make_settings
from tests.core.http.conftest import serve_sqlite

ROOT = Path(__file__).resolve().parents[3]
KEY = "correct-horse-battery"
UNAUTHORIZED = {
    "error": "Unauthorized",
    "details": "This request needs a valid key in the header X-API-Key, or a valid token in Authorization: Bearer",
}
WRITES = [
    *(("POST", f"/countries/refresh{rest}") for rest in ("", "/", "?force=nonsense")),
    *(("DELETE", path) for path in ("/countries/ghana", "/countries/%20", "/")),
    *(("PUT", "/countries"), ("PATCH", "/status"), ("POST", "/nowhere"), ("BREW", "/countries")),
]
RIGHT = {"POST /countries/refresh": 200, "DELETE /countries/ghana": 200, "PUT /countries": 405, "POST /nowhere": 404}
WRONG = {
    "no key": [],
    "a wrong key": [("X-API-Key", "wrong-horse")],
    "a longer key": [("X-API-Key", f"{KEY}x")],
    "a shorter key": [("X-API-Key", KEY[:-1])],
    "another case": [("X-API-Key", KEY.upper())],
    "an empty key": [("X-API-Key", "")],
    "a key in bytes": [(b"X-API-Key", b"\xff\xfe")],
    "two keys": [("X-API-Key", KEY), ("X-API-Key", KEY)],
    "a right and a wrong key": [("X-API-Key", KEY), ("X-API-Key", "wrong")],
    "the key elsewhere": [("Authorization", f"Bearer {KEY}")],
    "another scheme": [("Authorization", f"Basic {KEY}")],
    "a token that nobody has": [("Authorization", f"Bearer {new_secret('token')}")],
    "a key that nobody has": [("X-API-Key", new_secret("key"))],
    "a key and a token": [("X-API-Key", KEY), ("Authorization", f"Bearer {new_secret('token')}")],
    "bytes for a token": [(b"Authorization", b"Bearer \xff")],
}


@pytest.fixture
def start(tmp_path, sqlite_template):
    """Starts a service over an empty database; without settings it is an open development service."""
    return partial(serve_sqlite, tmp_path, sqlite_template)


@pytest.fixture
async def closed(start):
    async with start(admin_api_key=KEY, environment="production", rate_limit_sign_in="off") as client:
        yield client


async def test_every_write_needs_a_right_credential(closed):
    for (method, path), (wrong, headers) in product(WRITES, WRONG.items()):
        response = await closed.request(method, path, headers=headers)

        assert (path, wrong, response.status_code, response.json()) == (path, wrong, 401, UNAUTHORIZED)
        assert response.headers["WWW-Authenticate"] == 'Bearer realm="countries", ApiKey realm="countries"'
        assert response.headers["Cache-Control"] == "no-store"


async def test_right_key_and_an_open_service_let_everything_pass(service):
    for settings, headers in (({"admin_api_key": KEY}, {"X-API-Key": KEY}), ({}, {})):
        async with service(**settings) as client:
            for request, status in RIGHT.items():
                response = await client.request(*request.split(), headers=headers)

                assert (request, response.status_code) == (request, status)


async def test_refused_write_changes_nothing(service):
    async with service(admin_api_key=KEY) as client:
        await client.post("/countries/refresh", headers={"X-API-Key": KEY})
        before = (await client.get("/status")).json()
        await client.delete("/countries/ghana")
        await client.post("/countries/refresh")

        assert (await client.get("/status")).json() == before
        assert (await client.get("/countries/ghana")).status_code == 200


async def test_reading_stays_open(closed):
    for path in ("/", "/health/live", "/openapi.json", "/docs"):
        assert (await closed.get(path)).status_code == 200
        assert (await closed.head(path)).status_code == 200
    assert (await closed.get("/nowhere")).status_code == 404
    assert (await closed.options("/countries")).status_code == 405


async def test_key_with_letters_beyond_ascii_works(start):
    async with start(admin_api_key="schlüssel") as client:
        response = await client.post("/nowhere", headers=[(b"X-API-Key", "schlüssel".encode())])

    assert response.status_code == 404


PASSWORD = "correct horse battery"
UBID = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
JSON = {"Content-Type": "application/json"}
NEVER_DONE = {"POST /countries/refresh": "?force=maybe", "DELETE /auth/token": "?all=maybe"}
"""What would do something even without a body."""
NOTHING = {"user_id": 987654, "address_id": 987654, "key_id": 987654, "name": "nowhere", "ubid": UBID}
NOTHING |= {"code": "ZZZ", "state": "SENT", "date": "1990-01-01", "from": "1990-01-01", "to": "1990-01-02"}
"""Parameters of paths, of which nothing is there."""


async def sign_up(client: Any, role: Role) -> tuple[int, dict[str, str]]:
    """An account, and the header that signs its requests."""
    given = {"fname": role, "lname": "X", "email": f"{role}@example.com", "password": PASSWORD, "role": role}
    created = await client.post("/users", json=given, headers={"X-API-Key": KEY})
    signed = await client.post("/auth/token", data={"username": given["email"], "password": PASSWORD})
    return created.json()["id"], {"Authorization": f"Bearer {signed.json()['access_token']}"}


async def every_route(client: Any) -> AsyncIterator[tuple[str, str, Rule]]:
    """Method, path and rule of every operation; the ids in the paths are those of nothing."""
    paths = (await client.get("/openapi.json")).json()["paths"]
    for template, operations in paths.items():
        for method, operation in operations.items():
            query = NEVER_DONE.get(f"{method.upper()} {template}", "")
            yield method.upper(), template.format(**NOTHING) + query, Rule(operation["x-access"])


def may(rule: Rule, role: Role | None) -> bool:
    """What the rule says of somebody with this role, who is not the owner of anything; None is a stranger."""
    if rule is Rule.EVERYONE:
        return True
    if rule is Rule.OWNER:
        return role is Role.ADMIN
    return role is not None and (rule is Rule.ACCOUNT or role.includes(Role(rule.value)))


async def test_every_route_keeps_its_rule_for_everybody(closed):
    signed = {role: (await sign_up(closed, role))[1] for role in Role}
    before = (await closed.get("/users", headers={"X-API-Key": KEY})).json()
    walked = 0

    async for method, path, rule in every_route(closed):
        for role in (None, *Role):
            headers = signed[role] if role else {}
            response = await closed.request(method, path, headers=headers | JSON, content=b"{")
            refusal = 403 if role else 401

            assert (path, response.status_code == refusal) == (path, not may(rule, role))
            if not may(rule, role):
                assert response.json()["error"] == ("Forbidden" if role else "Unauthorized")
            if rule is not Rule.EVERYONE:
                assert (path, response.headers["Cache-Control"]) == (path, "no-store")
            walked += 1

    assert walked >= 4 * 36
    assert (await closed.get("/users", headers={"X-API-Key": KEY})).json() == before


async def test_no_route_but_the_public_ones_opens_for_a_wrong_credential(closed):
    async for method, path, rule in every_route(closed):
        for headers in WRONG.values():
            response = await closed.request(method, path, headers=headers)

            assert (path, response.status_code == 401) == (path, rule is not Rule.EVERYONE)


@pytest.mark.parametrize(
    ("settings", "headers", "refusal", "never"),
    [({"admin_api_key": KEY, "environment": "production"}, {"X-API-Key": KEY}, 403, 401), ({}, {}, 401, 403)],
    ids=["the key of the operator", "an open service"],
)
async def test_all_is_open_but_what_only_an_account_can_do(start, settings, headers, refusal, never):
    async with start(**settings) as client:
        async for method, path, rule in every_route(client):
            response = await client.request(method, path, headers=headers | JSON, content=b"{")

            assert (path, response.status_code == refusal) == (path, rule is Rule.ACCOUNT)
            assert response.status_code != never


async def test_every_route_keeps_its_scope_for_api_keys(closed):
    _, admin = await sign_up(closed, Role.ADMIN)
    for scope in KeyScope:
        new = await closed.post("/users/me/api-keys", json={"name": scope, "scopes": [scope]}, headers=admin)
        key = {"X-API-Key": new.json()["key"]}

        async for method, path, rule in every_route(closed):
            response = await closed.request(method, path, headers=key | JSON, content=b"{")
            needed = scope_of(method, path)
            is_allowed = rule is Rule.EVERYONE or needed == scope

            assert (scope, method, path, response.status_code == 403) == (scope, method, path, not is_allowed)
            if not is_allowed and needed is None:
                details = "API keys can't do this; sign in, and send the token instead"
            else:
                details = f"Requires an API key with the scope {needed}; this one has {scope}"
            if not is_allowed:
                assert response.json() == {"error": "Forbidden", "details": details}


def scope_of(method: str, path: str) -> KeyScope | None:
    """What an API key needs for a route that is not for everyone; None if it is refused."""
    if method == "GET":
        return KeyScope.READ
    scopes = {"/countries": KeyScope.REFRESH, "/tracking": KeyScope.TRACKING}
    return next((scope for prefix, scope in scopes.items() if path.startswith(prefix)), None)


async def test_wrong_credential_is_refused_even_if_none_is_needed(start):
    async with start() as client:
        response = await client.get("/users", headers={"X-API-Key": "guess"})

    assert (response.status_code, response.json()) == (401, UNAUTHORIZED)


async def test_owner_reaches_only_their_own_account(closed):
    (own_id, own), (other_id, _) = await sign_up(closed, Role.READER), await sign_up(closed, Role.EDITOR)
    before = (await closed.get(f"/users/{other_id}", headers={"X-API-Key": KEY})).text

    async for method, path, rule in every_route(closed):
        if rule is not Rule.OWNER:
            continue
        for user_id, is_allowed in ((own_id, True), (other_id, False)):
            # The body is never right, so that the account stays for the next route.
            url = path.replace("/users/987654", f"/users/{user_id}")
            headers = own | JSON | {"If-Match": '"stale"'}
            response = await closed.request(method, url, headers=headers, content=b"{")

            assert (method, url, response.status_code == 403) == (method, url, not is_allowed)
            assert response.status_code != 401

    assert (await closed.get(f"/users/{other_id}", headers={"X-API-Key": KEY})).text == before
    assert (await closed.get("/users/me", headers=own)).json()["id"] == own_id


async def test_id_in_another_spelling_does_not_reach_another_account(closed):
    (own_id, own), (other_id, _) = await sign_up(closed, Role.READER), await sign_up(closed, Role.EDITOR)

    for spelling in (f"0{own_id}", f"+{own_id}", f"{own_id}%20", f"{own_id}/../{other_id}", f"{other_id}%00", "%31%32"):
        response = await closed.get(f"/users/{spelling}", headers=own)

        assert (spelling, response.status_code) in [(spelling, 403), (spelling, 404)]


async def test_path_in_another_spelling_does_not_evade_its_rule(closed):
    spellings = "users%0A users/ users// %75sers users;x users%2F users/1%0A ./users users/me%0A users/1/addresses%0A"
    for path in (*spellings.split(), *["audit%0A", "users%00", "Users", "audit%20"]):
        response = await closed.get(f"/{path}")

        assert (path, response.status_code) in [(path, 401), (path, 404)]
    assert (await closed.post("/countries/refresh%0A")).status_code == 401


async def test_prefix_does_not_evade_a_rule(tmp_path, sqlite_template):
    shutil.copy(sqlite_template, tmp_path / "x.db")
    app = create_app(make_settings(database_url=f"sqlite:///{tmp_path}/x.db", admin_api_key=KEY))
    for prefix in ("/u", "/users", "/api", "/"):
        transport = httpx.ASGITransport(app, root_path=prefix)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            for path in ("/users", "/users/1", f"{prefix}/users", "/apiusers", "/api/api/users"):
                response = await client.get(path)

                assert (prefix, path, response.status_code) in [(prefix, path, 401), (prefix, path, 404)]


async def test_route_refuses_a_request_that_was_admitted_by_another_rule(closed, monkeypatch):
    public = dict.fromkeys(("GET", "POST"), RouteInfo(Access(Rule.EVERYONE)))
    monkeypatch.setattr(RouteTable, "find", lambda *_: RouteMatch("/", public, {}, "/"))

    assert (await closed.get("/users")).status_code == 401
    assert (await closed.post("/countries/refresh", headers={"X-API-Key": KEY})).status_code == 401
    assert (await closed.get("/status")).status_code == 404


async def test_unknown_path_never_reaches_the_router(closed, monkeypatch):
    """Its patterns take time that grows with the square of what is in some paths."""
    monkeypatch.setattr(APIRouter, "app", lambda *_: pytest.fail("the router was asked"))

    for path in ("/nowhere", f"/rates/{'.' * 1000}/x", "/rates/2026-01-01..2026-01-02", "/users%0A"):
        assert (path, (await closed.get(f"{path}/x")).status_code) == (path, 404)


async def test_answers_to_credentials_are_never_kept(closed):
    _, admin = await sign_up(closed, Role.ADMIN)
    for path in ("/users", "/users/me", "/audit", "/users/me/api-keys"):
        assert (await closed.get(path, headers=admin)).headers["Cache-Control"] == "no-store"


async def test_stranger_is_turned_away_before_the_body_is_read(tmp_path):
    app = create_app(make_settings(database_url=f"sqlite:///{tmp_path}/x.db", admin_api_key=KEY))
    sent = []

    async def receive():
        pytest.fail("the body was read")

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"a"), (b"content-type", b"application/json"), (b"content-length", b"99999999999")]
    about = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/countries/refresh", "query_string": b""}
    scope = {**about, "headers": headers}
    await app(scope, receive, send)

    assert [message.get("status") for message in sent] == [401, None]


@pytest.mark.parametrize(
    ("key", "code", "message"),
    [("", 1, "Wrong setting: ADMIN_API_KEY: is required when ENVIRONMENT=production\n"), (KEY, 0, "")],
)
def test_production_starts_with_a_key_only(tmp_path, key, code, message):
    python = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    environment = {**python, "ENVIRONMENT": "production", "ADMIN_API_KEY": key}
    command = [sys.executable, "-c", "import app.main"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout, run.stderr) == (code, "", message)
