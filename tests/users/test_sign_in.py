"""Sign-in and sign-out: tokens, what revokes them, and the limit of failed attempts."""

import asyncio
import re
import threading
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from pwdlib import PasswordHash
from redis.asyncio import Redis

from app.core.db.database import Database
from app.core.errors import DatabaseUnavailable
from tests.conftest import CHEAP, START, Client, serving
from tests.support.engines import EVERY_ENGINE
from tests.support.valkey import valkey
from tests.users.accounts import ADA, PASSWORD, create, rows, sign_in, stored

FORM = "application/x-www-form-urlencoded"
NEW_PASSWORD = "another long one"
WRONG = {"error": "Unauthorized", "details": "Wrong email address or password"}
UNAUTHORIZED = {
    "error": "Unauthorized",
    "details": "This request needs a valid key in the header X-API-Key, or a valid token in Authorization: Bearer",
}
BUSY = {"error": "Too busy", "details": "Too many passwords are waiting to be checked"}
ENDINGS: list[dict[str, Any] | None] = [{"password": NEW_PASSWORD}, {"password": PASSWORD}, {"role": "editor"}]
ENDINGS += [{"is_active": False}, None]
"""Changes of an account that revoke its tokens and keys; None deletes it."""


class WatchedHasher(PasswordHash):
    """Replaces the real one; ``go_on`` is set unless a test clears it."""

    def __init__(self) -> None:
        super().__init__(CHEAP.hashers)
        self.checked: list[Any] = []
        """The hashes that passwords were checked against."""
        self.go_on = threading.Event()
        self.go_on.set()

    def verify(self, password: Any, hash: Any) -> bool:  # noqa: A002  # so it is called there
        self.checked.append(hash)
        assert self.go_on.wait(60)
        return super().verify(password, hash)


@pytest.fixture
def hasher():
    return WatchedHasher()


@pytest.fixture
async def watched(settings, hasher):
    async with serving(settings, hasher=hasher) as client:
        yield client
        hasher.go_on.set()


async def attempt(client: Client, email: str, password: str) -> httpx.Response:
    return await client.post("/auth/token", data={"username": email, "password": password})


async def change(client, path: str, ending: dict[str, Any] | None) -> None:
    answer = await (client.delete(path) if ending is None else client.patch(path, json=ending))
    assert answer.is_success, answer.text


async def test_right_password_gives_a_token_that_works(client):
    ada = await create(client, email="Jürgen@example.com")

    for email in ("Jürgen@example.com", "JÜRGEN@EXAMPLE.COM", " ju\u0308rgen@example.com "):
        response = await attempt(client, email, PASSWORD)
        token = response.json()["access_token"]
        assert re.fullmatch(r"token_[A-Za-z0-9_-]{43}", token)
        shown = {"access_token": token, "token_type": "bearer", "expires_in": 43200}
        assert (response.status_code, response.json()) == (200, shown)
        assert response.headers["Cache-Control"] == "no-store"

        for scheme in ("Bearer", "bearer"):
            me = await client.get("/users/me", headers={"Authorization": f"{scheme} {token}"})
            assert (me.status_code, me.json()) == (200, ada)
            assert me.headers["Cache-Control"] == "no-store"


async def test_domain_may_be_in_unicode_or_punycode(client):
    created = await create(client, email="ada@xn--bcher-kva.example")

    assert created["email"] == "ada@bücher.example"
    for email in ("ada@xn--bcher-kva.example", "ADA@XN--BCHER-KVA.EXAMPLE", "ada@bücher.example", "ada@BÜCHER.example"):
        assert (await attempt(client, email, PASSWORD)).status_code == 200


async def test_refused_sign_in_does_not_say_why(watched, hasher):
    await create(watched)
    await create(watched, email="gone@example.com", is_active=False)
    before = await stored(watched)
    hasher.checked.clear()

    tries = [("ada@example.com", "wrong"), ("nobody@example.com", PASSWORD), ("gone@example.com", PASSWORD)]
    tries += [("gone@example.com", "wrong"), ("no address", PASSWORD), ("ada@example.com", PASSWORD.upper())]
    answers = [await attempt(watched, email, password) for email, password in tries]

    for answer in answers:
        headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
        assert (answer.status_code, answer.json()) == (401, WRONG)
        assert headers == {
            "cache-control": "no-store",
            "www-authenticate": 'Bearer realm="countries"',
            "content-length": "68",
            "content-type": "application/json",
            "access-control-allow-origin": "*",
            "access-control-expose-headers": answers[0].headers["access-control-expose-headers"],
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "no-referrer",
        }
    # The same work for each: one hash with the same parameters.
    parameters = [hashed.rsplit("$", 2)[0] for hashed in hasher.checked]
    assert parameters == ["$argon2id$v=19$m=8,t=1,p=1"] * len(tries)
    assert await stored(watched) == before


async def test_start_hashes_nothing_and_the_first_sign_in_costs_the_same_for_any_account(settings):
    """A hash takes 64 MiB and 50 ms of a core."""
    async with serving(settings) as client:
        await create(client)

    for email in ("ada@example.com", "nobody@example.com"):
        hasher = Mock(wraps=CHEAP)
        async with serving(settings, hasher=hasher) as client:
            assert hasher.mock_calls == []
            assert (await attempt(client, email, "wrong")).status_code == 401

        assert [call[0] for call in hasher.mock_calls] == ["hash", "verify"]


async def test_form_without_its_fields_is_refused(client):
    await create(client)
    both = {"username": ADA["email"], "password": PASSWORD}
    cases: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {"username": "is required", "password": "is required"}),
        ({"username": ADA["email"]}, {"password": "is required"}),
        ({"username": ADA["email"], "password": ""}, {"password": "is required"}),
        ({"password": PASSWORD}, {"username": "is required"}),
        ({**both, "grant_type": "client_credentials"}, {"grant_type": "must be one of: password"}),
        ({**both, "username": "a" * 321}, {"username": "must have at most 320 characters"}),
        ({**both, "password": "a" * 129}, {"password": "must have at most 128 characters"}),
    ]
    for form, details in cases:
        response = await client.post("/auth/token", data=form)
        refusal = {"error": "Validation failed", "details": details}
        assert (form, response.status_code, response.json()) == (form, 400, refusal)
    assert (await client.post("/auth/token", json=both)).status_code == 415
    full = {**both, "grant_type": "password", "scope": "", "client_id": "swagger", "client_secret": ""}
    assert (await client.post("/auth/token", data=full)).status_code == 200


async def test_token_expires(service):
    async with service(token_hours=1e-6) as client:
        await create(client)
        token = await sign_in(client)
        while (answer := await client.get("/users/me", headers=token)).status_code == 200:
            await asyncio.sleep(0.001)
        assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="countries", ApiKey realm="countries"'

        await sign_in(client)
        assert len(await rows(client, "SELECT id FROM credential")) == 1  # the ended one went


async def test_changes_of_an_account_revoke_its_tokens_and_keys(client):
    for turn, ending in enumerate(ENDINGS):
        email = f"ada{turn}@example.com"
        path = f"/users/{(await create(client, email=email))['id']}"
        token = await sign_in(client, email)
        key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=token)).json()["key"]
        credentials = (token, await sign_in(client, email), {"X-API-Key": key})

        for harmless in ({"fname": "Grace"}, {"role": "reader"}, {"is_active": True}, {}):
            await change(client, path, harmless)
        me = [await client.get("/users/me", headers=headers) for headers in credentials]
        assert [answer.status_code for answer in me] == [200] * 3
        await change(client, path, ending)
        me = [await client.get("/users/me", headers=headers) for headers in credentials]
        assert [(answer.status_code, answer.json()) for answer in me] == [(401, UNAUTHORIZED)] * 3, ending

        if ending == {"is_active": False}:
            await change(client, path, {"is_active": True})
            assert (await client.get("/users/me", headers=token)).status_code == 401
        if ending is not None:
            await sign_in(client, email, ending.get("password", PASSWORD))
    assert len(await rows(client, "SELECT id FROM credential")) == len(ENDINGS) - 1


async def test_sign_in_during_such_a_change_gives_no_token(watched, hasher):
    for turn, ending in enumerate(ENDINGS):
        email = f"ada{turn}@example.com"
        path = f"/users/{(await create(watched, email=email))['id']}"
        hasher.checked.clear()
        hasher.go_on.clear()
        under_way = asyncio.create_task(attempt(watched, email, PASSWORD))
        while not hasher.checked:
            await asyncio.sleep(0.001)
        await change(watched, path, ending)
        hasher.go_on.set()

        answer = await under_way
        assert (ending, answer.status_code, answer.json()) == (ending, 401, WRONG)
    assert await rows(watched, "SELECT id FROM credential") == []


async def test_sixth_failure_within_five_minutes_is_refused_for_that_address_only(settings):
    now = [START]
    async with serving(settings, clock=lambda: now[0]) as client:
        await create(client)
        await create(client, email="grace@example.com")
        for email in ("ada@example.com", "nobody@example.com"):
            for spelling in (email, email.upper(), f" {email}", email, email):
                assert (await attempt(client, spelling, "wrong")).status_code == 401
            refused = await attempt(client, email.title(), PASSWORD)
            seconds = refused.headers["Retry-After"]
            details = f"At most 5 in 5 minutes; try again in {seconds} s"
            assert (refused.status_code, refused.json()) == (429, {"error": "Too many requests", "details": details})
            assert 0 < int(seconds) <= 300
            assert refused.headers["Cache-Control"] == "no-store"
        for _ in range(6):
            await sign_in(client, "grace@example.com")  # nobody else waits, and successes do not count

        now[0] += timedelta(minutes=10)
        await sign_in(client)


async def test_attempts_at_once_do_not_avoid_the_limit(client):
    await create(client)
    for email in ("ada@example.com", "nobody@example.com"):
        answers = await asyncio.gather(*(attempt(client, email, f"guess {turn}") for turn in range(20)))
        assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 15


@pytest.mark.engines("sqlite")  # the counters are not in the database
async def test_processes_that_share_a_storage_share_failures_and_store_no_address(service):
    async with valkey() as server:
        shared = {"rate_limit_storage": f"valkey://127.0.0.1:{server.port}/0"}
        async with service(**shared) as one, service(**shared) as other:
            await create(one)
            await sign_in(other)
            codes = [(await attempt(turn, "ada@example.com", "wrong")).status_code for turn in (one, other) * 3]
            async with Redis(port=server.port) as storage:
                keys = str(await storage.keys())

    assert codes == [401] * 5 + [429]
    assert "sign-in-email" in keys
    assert "ada" not in keys


async def test_too_many_waiting_passwords_are_503_and_other_requests_do_not_wait(watched, hasher):
    ada = await create(watched)
    hasher.go_on.clear()
    tries, passwords = set(), watched.state["passwords"]
    for turn in range(45):  # one by one: all at once would be too much for the database
        task = asyncio.create_task(attempt(watched, f"{turn}@example.com", PASSWORD))
        tries.add(task)
        while passwords.waiting <= turn and not task.done():
            await asyncio.sleep(0.001)
    refused: set[asyncio.Task[httpx.Response]] = set()
    while len(refused) < 5:
        done, tries = await asyncio.wait(tries, return_when=asyncio.FIRST_COMPLETED)
        refused |= done

    for task in refused:
        answer = await task
        assert (answer.status_code, answer.json(), answer.headers["Retry-After"]) == (503, BUSY, "2")
    creation = await watched.post("/users", json={**ADA, "email": "new@example.com"})
    assert (creation.status_code, creation.json()) == (503, BUSY)
    assert (await watched.get(f"/users/{ada['id']}")).json() == ada
    hasher.go_on.set()
    assert {answer.status_code for answer in await asyncio.gather(*tries)} == {401}
    await sign_in(watched)
    assert len(await rows(watched, "SELECT id FROM user")) == 1


async def test_attempts_that_the_database_fails_do_not_count(service, monkeypatch):
    async with service() as client:
        await create(client)
        with monkeypatch.context() as patch:
            patch.setattr(Database, "reading", Mock(side_effect=DatabaseUnavailable("The database can't be reached")))
            for _ in range(10):
                assert (await attempt(client, "ada@example.com", PASSWORD)).status_code == 503

        assert (await attempt(client, "ada@example.com", PASSWORD)).status_code == 200


async def test_sign_in_form_is_limited_to_16_kib(client):
    form = b"username=a&password=b&" + b"&" * 20_000
    answer = await client.post("/auth/token", content=form, headers={"Content-Type": FORM})

    details = "The body may have at most 16384 bytes"
    assert (answer.status_code, answer.json()) == (413, {"error": "Request body too large", "details": details})


async def test_sign_out_ends_the_token_of_the_request_and_no_other_token_or_key(client):
    await create(client)
    one, other = await sign_in(client), await sign_in(client)
    key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=one)).json()["key"]

    response = await client.delete("/auth/token", headers=one)

    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get("/users/me", headers=one)).status_code == 401
    assert (await client.delete("/auth/token", headers=one)).status_code == 401
    assert (await client.get("/users/me", headers=other)).status_code == 200
    assert (await client.delete("/auth/token", headers={"X-API-Key": key})).status_code == 403
    assert (await client.delete("/auth/token")).status_code == 401
    assert (await client.get("/users/me", headers={"X-API-Key": key})).status_code == 200


@EVERY_ENGINE
async def test_several_sign_outs_at_once_end_the_token_once(client):
    await create(client)
    token = await sign_in(client)

    answers = await asyncio.gather(*(client.delete("/auth/token", headers=token) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [204, 401, 401, 401]
    assert await rows(client, "SELECT id FROM credential") == []


async def test_twenty_first_sign_in_ends_the_oldest_token_and_no_key(client):
    await create(client)
    await create(client, email="grace@example.com")
    grace = await sign_in(client, "grace@example.com")
    first = await sign_in(client)
    key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=first)).json()["key"]
    second = await sign_in(client)
    for _ in range(18):
        last = await sign_in(client)
    assert (await client.get("/users/me", headers=first)).status_code == 200

    newest = await sign_in(client)

    assert (await client.get("/users/me", headers=first)).status_code == 401
    for kept in (second, last, newest, grace, {"X-API-Key": key}):
        assert (await client.get("/users/me", headers=kept)).status_code == 200
    assert await rows(client, "SELECT COUNT(*) AS n FROM credential WHERE kind = 'token'") == [{"n": 21}]
