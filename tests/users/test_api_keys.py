"""API keys: shown once, good for one header, and ended in good time."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from app.core.db.database import Database
from app.core.errors import DatabaseUnavailable
from app.users.credentials import digest
from tests.users.accounts import create, overtaken, rows, sign_in, stored, write
from tests.users.test_sign_in import NEW_PASSWORD, UNAUTHORIZED

PATH = "/users/me/api-keys"
NOT_FOUND = {"error": "API key not found"}
TOO_MANY = {"error": "Too many API keys", "details": "An account can have at most 20 API keys; revoke one first"}
ENDED = {"error": "Unauthorized", "details": "The token or API key has just expired or been revoked; sign in again"}


@pytest.fixture
async def token(client):
    """The header of Ada, who has just signed in."""
    await create(client)
    return await sign_in(client)


async def add(client, token, name: str = "nightly", **more: object) -> dict[str, Any]:
    response = await client.post(PATH, json={"name": name, **more}, headers=token)
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def test_key_is_shown_once_and_works_in_its_own_header_only(client, token):
    ada = (await client.get("/users/me", headers=token)).json()
    response = await client.post(PATH, json={"name": " nightly refresh "}, headers=token)

    created = response.json()
    key = created.pop("key")
    assert re.fullmatch(r"key_[A-Za-z0-9_-]{43}", key)
    assert list(created) == ["id", "name", "scopes", "created_at", "expires_at", "last_used_at"]
    assert (response.status_code, created["name"], created["last_used_at"]) == (201, "nightly refresh", None)
    assert response.headers["Cache-Control"] == "no-store"
    life = datetime.fromisoformat(created["expires_at"]) - datetime.fromisoformat(created["created_at"])
    assert life == timedelta(days=365)
    assert (await client.get(PATH, headers=token)).json() == [created]

    assert (await client.get("/users/me", headers={"X-API-Key": key})).json() == ada
    secret = token["Authorization"].removeprefix("Bearer ")
    wrong_keys = (secret, secret.replace("token_", "key_"), key[:-1], key.swapcase())
    wrong: list[dict[str, str]] = [{"X-API-Key": text} for text in wrong_keys]
    wrong += [{"Authorization": text} for text in (f"Bearer {key}", secret, f"Basic {secret}")]
    for headers in [*wrong, {"X-API-Key": key, **token}, {}]:
        answer = await client.get("/users/me", headers=headers)
        assert (headers, answer.status_code, answer.json()) == (headers, 401, UNAUTHORIZED)


async def test_last_use_of_a_key_is_written_once_a_minute(client, token):
    headers = {"X-API-Key": (await add(client, token))["key"]}
    await add(client, token, "never used")

    async def last_use() -> datetime:
        used, unused = (await client.get(PATH, headers=token)).json()
        assert unused["last_used_at"] is None
        return datetime.fromisoformat(used["last_used_at"])

    before = datetime.now(UTC) - timedelta(seconds=60)
    me = await client.get("/users/me", headers=headers)
    first = await last_use()
    assert first > before
    assert (await client.get("/users/me", headers=token)).json() == me.json()

    for seconds, is_noted in ((30, False), (61, True)):
        at = datetime.now(UTC) - timedelta(seconds=seconds)
        await write(client, "UPDATE credential SET last_used_at = :at WHERE name = 'nightly'", {"at": at})
        await asyncio.gather(*(client.get("/users/me", headers=headers) for _ in range(5)))
        assert (await last_use() > at) == is_noted


async def test_expired_key_is_refused_and_not_listed(client, token):
    expired = await add(client, token, expires_in_days=1)
    kept = await add(client, token, "longest", expires_in_days=3650)
    at = datetime(2020, 1, 1, tzinfo=UTC)
    await write(client, "UPDATE credential SET expires_at = :at WHERE name = 'nightly'", {"at": at})

    answer = await client.get("/users/me", headers={"X-API-Key": expired["key"]})
    assert (answer.status_code, answer.json()) == (401, UNAUTHORIZED)
    assert [key["id"] for key in (await client.get(PATH, headers=token)).json()] == [kept["id"]]
    await add(client, token, "new")
    names = await rows(client, "SELECT name FROM credential WHERE kind = 'key' ORDER BY id")
    assert names == [{"name": "longest"}, {"name": "new"}]


async def test_revoked_key_is_refused(client, token):
    first, second = await add(client, token), await add(client, token, "second")

    response = await client.delete(f"{PATH}/{first['id']}", headers=token)

    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get("/users/me", headers={"X-API-Key": first["key"]})).status_code == 401
    assert [key["id"] for key in (await client.get(PATH, headers=token)).json()] == [second["id"]]
    assert (await client.get("/users/me", headers=token)).status_code == 200


async def test_key_of_another_account_is_not_found(client, token):
    hers = await add(client, token)
    await create(client, email="grace@example.com")
    grace = await sign_in(client, "grace@example.com")
    tokens = await rows(client, "SELECT id FROM credential WHERE kind = 'token'")
    before = await stored(client)

    assert (await client.get(PATH, headers=grace)).json() == []
    for key_id in (hers["id"], 987654, *(row["id"] for row in tokens)):
        answer = await client.delete(f"{PATH}/{key_id}", headers=grace)
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)
    assert await stored(client) == before


async def test_account_has_at_most_twenty_keys(client, token):
    keys = [await add(client, token, f"key {number}") for number in range(18)]

    answers = await asyncio.gather(*(client.post(PATH, json={"name": "x"}, headers=token) for _ in range(5)))

    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]
    assert all(answer.json() == TOO_MANY for answer in answers if answer.status_code == 409)
    assert len((await client.get(PATH, headers=token)).json()) == 20
    await client.delete(f"{PATH}/{keys[0]['id']}", headers=token)
    await add(client, token)


async def test_key_is_not_created_after_a_new_password_or_a_deletion(client, token):
    path = f"/users/{(await client.get('/users/me', headers=token)).json()['id']}"
    for ending in ("patch", "delete"):
        headers = await sign_in(client) if ending == "delete" else token

        async def end(ending=ending) -> None:
            body = {"json": {"password": "correct horse battery"}} if ending == "patch" else {}
            assert (await client.request(ending, path, **body)).is_success

        with overtaken(end):
            answer = await client.post(PATH, json={"name": "nightly"}, headers=headers)

        assert (answer.status_code, answer.json()) == (401, ENDED)
        assert await rows(client, "SELECT id FROM credential") == []


async def test_wrong_fields_of_a_key_are_named(client, token):
    before = await stored(client)
    number = "must be a whole number"
    cases: tuple[tuple[dict[str, Any], dict[str, str]], ...] = (
        ({}, {"name": "is required"}),
        ({"name": " "}, {"name": "must not be blank"}),
        ({"name": None}, {"name": "must be text"}),
        ({"name": "a" * 101}, {"name": "must have at most 100 characters"}),
        ({"name": "a\0b"}, {"name": "must not contain control characters"}),
        ({"name": "a", "expires_in_days": 0}, {"expires_in_days": "must be at least 1"}),
        ({"name": "a", "expires_in_days": 3651}, {"expires_in_days": "must be at most 3650"}),
        ({"name": "a", "expires_in_days": "5"}, {"expires_in_days": number}),
        ({"name": "a", "expires_in_days": 1.5}, {"expires_in_days": number}),
        ({"name": "a", "expires_in_days": None}, {"expires_in_days": number}),
        ({"name": "a", "scopes": []}, {"scopes": "must not be empty"}),
        ({"name": "a", "scopes": "read"}, {"scopes": "must be a list"}),
        ({"name": "a", "scopes": ["write"]}, {"scopes.0": "must be one of: read, refresh, tracking"}),
        ({"name": "a", "scopes": ["read", "read"]}, {"scopes": "must not repeat an entry"}),
        ({"name": "a", "scopes": ["read"] * 4}, {"scopes": "must have at most 3 entries"}),
        ({"name": "a", "user_id": 1}, {"user_id": "is not a field of this request"}),
    )
    for body, details in cases:
        response = await client.post(PATH, json=body, headers=token)
        expected = (400, {"error": "Validation failed", "details": details})
        assert (body, response.status_code, response.json()) == (body, *expected)
    assert await stored(client) == before


async def test_key_does_what_its_account_may_within_its_scopes(client, token):
    """Which route needs which scope: see test_access.py."""
    await create(client, email="editor@example.com", role="editor")
    editor = await sign_in(client, "editor@example.com")
    reading, tracking = await add(client, token), await add(client, editor, scopes=["tracking", "read"])
    assert (reading["scopes"], tracking["scopes"]) == (["read"], ["read", "tracking"])
    transfer = {"UBID": str(uuid4()), "SMScount": 1, "documents": 1, "fileName": "f", "origName": "o"}
    sign_in_instead = "API keys can't do this; sign in, and send the token instead"
    not_a = "Requires role {}; you are ada@example.com (reader)"
    lacks = "Requires an API key with the scope {}; this one has {}"
    cases: list[tuple[dict[str, Any], str, str, Any, int, str | None]] = [
        (reading, "GET", "/users/me", None, 200, None),
        (reading, "GET", "/users", None, 403, not_a.format("admin")),
        (reading, "POST", "/tracking/sms_transfers", transfer, 403, not_a.format("editor")),
        (reading, "POST", PATH, {"name": "another"}, 403, sign_in_instead),
        (tracking, "POST", "/tracking/sms_transfers", transfer, 201, None),
        (tracking, "GET", "/tracking/sms_transfers", None, 200, None),
        (tracking, "POST", "/countries/refresh", None, 403, lacks.format("refresh", "read, tracking")),
        (tracking, "DELETE", f"{PATH}/{tracking['id']}", None, 403, sign_in_instead),
        (tracking, "DELETE", "/auth/token", None, 403, sign_in_instead),
    ]
    for owner, key in (("ada", reading), ("editor", tracking)):
        account = (await client.get("/users/me", headers={"X-API-Key": key["key"]})).json()
        assert account["email"] == f"{owner}@example.com"
        own = f"/users/{account['id']}"
        fields = ({"password": NEW_PASSWORD}, {"email": "eve@example.com"})
        cases += [(key, "PATCH", own, field, 403, sign_in_instead) for field in fields]
    before = await stored(client)

    for key, method, path, body, status, details in cases:
        answer = await client.request(method, path, json=body, headers={"X-API-Key": key["key"]})

        assert (method, path, answer.status_code) == (method, path, status)
        if details:
            assert answer.json() == {"error": "Forbidden", "details": details}
    assert await stored(client) == before


async def test_key_from_before_there_were_scopes_keeps_all(client, token):
    key = await add(client, token)
    user = (await client.get("/users/me", headers=token)).json()["id"]
    values = ":user, 'key', 'old', :digest, '2026-01-01', '2999-01-01'"
    columns = "user_id, kind, name, digest, created_at, expires_at"
    await write(client, f"INSERT INTO credential ({columns}) VALUES ({values})", {"user": user, "digest": digest("x")})

    scopes = [(shown["name"], shown["scopes"]) for shown in (await client.get(PATH, headers=token)).json()]
    assert scopes == [(key["name"], ["read"]), ("old", ["read", "refresh", "tracking"])]


async def test_key_works_although_its_use_cannot_be_written_which_is_tried_once_a_minute(service, monkeypatch):
    now, tries, transaction = [0.0], [], Database.transaction

    async def fail(*_: Any, **__: Any) -> Any:
        tries.append(now[0])
        if len(tries) == 1:
            raise DatabaseUnavailable("The database can't be reached or refused the work")
        return await asyncio.sleep(60)

    async with service(monotonic=lambda: now[0]) as client:
        await create(client)
        token = await sign_in(client)
        key = {"X-API-Key": (await add(client, token))["key"]}
        last_uses = []
        for is_written in (False, True):
            monkeypatch.setattr(Database, "transaction", transaction if is_written else fail)
            for _ in range(6):
                now[0] += 30
                assert (await client.get("/users/me", headers=key)).status_code == 200
            (shown,) = (await client.get(PATH, headers=token)).json()
            last_uses.append(shown["last_used_at"])

    assert tries == [30, 90, 150]
    assert (last_uses[0], last_uses[1] is None) == (None, False)
