"""The audit trail: each change leaves one entry, in its own transaction, and what changes nothing leaves none."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import insert, text
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEntry
from tests.conftest import COUNTRIES, RATES
from tests.support import payloads
from tests.support.upstream import after, document, status

ROOT = Path(__file__).resolve().parents[2]

KEY = "key-of-the-operator"
OPERATOR = {"X-API-Key": KEY}
PASSWORD, NEW_PASSWORD = "correct horse battery", "another horse, another battery"
ADA = {"fname": "Ada", "lname": "Mensah", "email": "Ada@example.com", "password": PASSWORD, "role": "editor"}
ACCRA = {"street": "12 Ridge Road", "city": "Accra", "postal_code": "GA-144-1239", "country": "GH"}
SHOWN = {"fname": "Ada", "lname": "Mensah", "email": "Ada@example.com", "role": "editor", "is_active": True}


@pytest.fixture
async def closed(service):
    """A service to which only keys and tokens give access."""
    async with service(admin_api_key=KEY) as client:
        yield client


async def trail(client, headers: Any = OPERATOR) -> list[Any]:
    """All entries, the oldest first, without what no test can know: their ids and times, which are checked here."""
    response = await client.get("/audit", params={"limit": 1000}, headers=headers)
    assert response.status_code == 200, response.text
    entries: list[Any] = response.json()[::-1]
    ids, times = [entry.pop("id") for entry in entries], [datetime.fromisoformat(entry.pop("at")) for entry in entries]
    assert ids == sorted(set(ids))
    assert times == sorted(times)
    assert all(abs(datetime.now(UTC) - time) < timedelta(minutes=1) for time in times)
    return entries


def entry(action: str, object_type: str, object_id: object, summary: str, **about: Any) -> dict[str, Any]:
    known = {"action": action, "object_type": object_type, "summary": summary, "actor": "ADMIN_API_KEY"}
    shown_id = None if object_id is None else str(object_id)
    return {**known, "object_id": shown_id, "actor_id": None, "request_id": "r-1", **about}


def added(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: {"before": None, "after": value} for name, value in fields.items()}


def removed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: {"before": value, "after": None} for name, value in fields.items()}


async def create(client, **changes: Any) -> Any:
    response = await client.post("/users", json={**ADA, **changes}, headers={**OPERATOR, "X-Request-ID": "r-1"})
    assert response.status_code == 201, response.text
    return response.json()


async def sign_in(client, *, password: str = PASSWORD, request_id: str = "r-2") -> dict[str, str]:
    form = {"username": str(ADA["email"]), "password": password}
    response = await client.post("/auth/token", data=form)
    assert response.status_code == 200, response.text
    return {"Authorization": f"Bearer {response.json()['access_token']}", "X-Request-ID": request_id}


async def test_creating_an_account_is_one_entry_with_its_addresses_and_without_its_password(closed):
    user = await create(closed, addresses=[ACCRA])

    changes = added({**SHOWN, "addresses": user["addresses"]})
    assert await trail(closed) == [
        entry("CREATE_USER", "User", user["id"], f"User {user['id']} created", changes=changes)
    ]


async def test_changing_an_account_is_one_entry_with_only_what_changed(closed):
    user = await create(closed)
    own = await sign_in(closed)

    patched = await closed.patch(f"/users/{user['id']}", json={"lname": "Owusu", "fname": "Ada"}, headers=own)
    full = {**SHOWN, "fname": "Adwoa", "lname": "Owusu"}
    put = await closed.put(f"/users/{user['id']}", json=full, headers={**own, "X-Request-ID": "r-3"})

    assert (patched.status_code, put.status_code) == (200, 200)
    by_herself = {"actor": "Ada@example.com", "actor_id": user["id"]}
    changes = [{"lname": {"before": "Mensah", "after": "Owusu"}}, {"fname": {"before": "Ada", "after": "Adwoa"}}]
    assert (await trail(closed))[1:] == [
        entry("UPDATE_USER", "User", user["id"], f"User {user['id']} updated", **by_herself, request_id=sent, changes=c)
        for sent, c in zip(("r-2", "r-3"), changes, strict=True)
    ]


async def test_new_password_and_role_are_one_entry_that_does_not_show_the_password(closed):
    user = await create(closed)

    given = {"password": NEW_PASSWORD, "role": "reader", "is_active": False}
    response = await closed.patch(f"/users/{user['id']}", json=given, headers={**OPERATOR, "X-Request-ID": "r-1"})

    assert response.status_code == 200
    changes = {
        "role": {"before": "editor", "after": "reader"},
        "is_active": {"before": True, "after": False},
        "password": {"before": None, "after": "changed"},
    }
    assert (await trail(closed))[1:] == [
        entry("UPDATE_USER", "User", user["id"], f"User {user['id']} updated", changes=changes)
    ]


async def test_deleting_an_account_is_one_entry_and_all_entries_outlive_it(closed):
    user = await create(closed, addresses=[ACCRA])
    before = await trail(closed)

    response = await closed.delete(f"/users/{user['id']}", headers=await sign_in(closed))

    assert response.status_code == 204
    by_herself = {"actor": "Ada@example.com", "actor_id": user["id"], "request_id": "r-2"}
    changes = removed({**SHOWN, "addresses": user["addresses"]})
    assert await trail(closed) == [
        *before,
        entry("DELETE_USER", "User", user["id"], f"User {user['id']} deleted", **by_herself, changes=changes),
    ]


async def test_each_change_of_an_address_is_one_entry(closed):
    user = await create(closed)
    headers, addresses = {**OPERATOR, "X-Request-ID": "r-1"}, f"/users/{user['id']}/addresses"

    address = (await closed.post(addresses, json=ACCRA, headers=headers)).json()
    one = f"{addresses}/{address['id']}"
    put = await closed.put(one, json={**ACCRA, "street": "1 Castle Road", "postal_code": None}, headers=headers)
    deleted = await closed.delete(one, headers=headers)

    assert (put.status_code, deleted.status_code) == (200, 204)
    number = f"{user['id']}/{address['id']}"
    name, after_put = f"Address {number}", {**ACCRA, "street": "1 Castle Road", "postal_code": None}
    updated = {
        "street": {"before": "12 Ridge Road", "after": "1 Castle Road"},
        "postal_code": {"before": "GA-144-1239", "after": None},
    }
    gone = {field: change for field, change in removed(after_put).items() if change["before"] is not None}
    assert (await trail(closed))[1:] == [
        entry("CREATE_ADDRESS", "Address", number, f"{name} created", changes=added(ACCRA)),
        entry("UPDATE_ADDRESS", "Address", number, f"{name} updated", changes=updated),
        entry("DELETE_ADDRESS", "Address", number, f"{name} deleted", changes=gone),
    ]


async def test_creating_and_revoking_an_api_key_is_one_entry_each(closed):
    user = await create(closed)
    own = await sign_in(closed)

    key = (await closed.post("/users/me/api-keys", json={"name": "nightly refresh"}, headers=own)).json()
    revoked = await closed.delete(f"/users/me/api-keys/{key['id']}", headers=own)

    assert revoked.status_code == 204
    about = {"actor": "Ada@example.com", "actor_id": user["id"], "request_id": "r-2"}
    changes = added({"name": "nightly refresh", "expires_at": key["expires_at"]})
    name, gone = f"API key {key['id']}", removed({"name": "nightly refresh"})
    assert (await trail(closed))[1:] == [
        entry("CREATE_API_KEY", "API key", key["id"], f"{name} created", **about, changes=changes),
        entry("REVOKE_API_KEY", "API key", key["id"], f"{name} revoked", **about, changes=gone),
    ]


async def test_no_password_hash_token_or_key_is_in_the_trail(closed):
    user = await create(closed)
    database, secrets = closed.state["database"], {KEY, PASSWORD, NEW_PASSWORD}
    own = await sign_in(closed)
    key = (await closed.post("/users/me/api-keys", json={"name": "one"}, headers=own)).json()
    async with database.reading() as session:
        hashes = "SELECT password_hash FROM user UNION SELECT digest FROM credential"
        secrets |= {row[0] for row in await (await session.connection()).exec_driver_sql(hashes)}
    await closed.patch(f"/users/{user['id']}", json={"password": NEW_PASSWORD}, headers={"X-API-Key": key["key"]})
    secrets |= {key["key"], own["Authorization"].removeprefix("Bearer ")}

    async with database.reading() as session:
        stored = str(list(await (await session.connection()).execute(text("SELECT * FROM audit"))))
    shown = (await closed.get("/audit", headers=OPERATOR)).text

    assert len(secrets) == 8
    assert len(await trail(closed)) == 3
    assert [secret for secret in secrets if secret in stored + shown] == []


async def test_each_refresh_and_deletion_of_a_country_is_one_entry(closed):
    headers = {**OPERATOR, "X-Request-ID": "r-1"}
    first = (await closed.post("/countries/refresh", headers=headers)).json()
    country = (await closed.get("/countries/gh")).json()
    assert (await closed.delete("/countries/gh", headers=headers)).status_code == 200
    second = (await closed.post("/countries/refresh", headers=headers)).json()

    def about(result: Any) -> dict[str, Any]:
        sources = {"country_source": "127.0.0.1", "rate_source": "127.0.0.1", "rates_date": result["rates_date"]}
        refreshed_at = result["last_refreshed_at"].replace("Z", "+00:00")
        return {"total_countries": 250, **sources, "last_refreshed_at": refreshed_at}

    times = (about(first)["last_refreshed_at"], about(second)["last_refreshed_at"])
    again = {
        "total_countries": {"before": 249, "after": 250},
        "last_refreshed_at": dict(zip(("before", "after"), times, strict=True)),
    }
    fields = {name: country[name] for name in ("id", "name", "alpha2_code", "population", "currency_code")}
    refresh = ("REFRESH_COUNTRIES", "Countries", None, "Countries refreshed")
    assert await trail(closed) == [
        entry(*refresh, changes=added(about(first))),
        entry("DELETE_COUNTRY", "Country", "Ghana", "Country Ghana deleted", changes=removed(fields)),
        entry(*refresh, changes=again),
    ]


async def test_refresh_tells_what_was_stored_when_it_was_stored(loaded, upstream):
    """And not what was stored when it began to fetch."""
    upstream.answers[RATES] = after(0.3, document(payloads.er_api()))
    waiting = asyncio.create_task(loaded.post("/countries/refresh"))
    while upstream.hits[RATES] < 2:
        await asyncio.sleep(0.01)
    assert (await loaded.delete("/countries/gh")).status_code == 200
    assert (await waiting).status_code == 200

    last = (await trail(loaded, headers={}))[-1]

    assert last["action"] == "REFRESH_COUNTRIES"
    assert last["changes"]["total_countries"] == {"before": 249, "after": 250}


async def test_joined_refreshes_are_one_entry(closed, upstream):
    upstream.answers[RATES] = after(0.2, document(payloads.er_api()))

    answers = await asyncio.gather(*(closed.post("/countries/refresh", headers=OPERATOR) for _ in range(5)))

    assert [answer.status_code for answer in answers] == [200] * 5
    assert [told["action"] for told in await trail(closed)] == ["REFRESH_COUNTRIES"]


async def test_what_fails_leaves_no_entry(closed, upstream):
    user, other = await create(closed), await create(closed, email="kofi@example.com")
    own, one = await sign_in(closed), f"/users/{user['id']}"
    before = await trail(closed)
    stale = {**OPERATOR, "If-Match": '"stale"'}
    upstream.answers[COUNTRIES] = status(404)

    answers = {
        "taken at creation": await closed.post("/users", json=ADA, headers=OPERATOR),
        "taken at change": await closed.patch(one, json={"email": other["email"]}, headers=OPERATOR),
        "stale change": await closed.patch(one, json={"lname": "Owusu"}, headers=stale),
        "stale deletion": await closed.delete(one, headers=stale),
        "role of herself": await closed.patch(one, json={"role": "admin"}, headers=own),
        "account of another": await closed.delete(f"/users/{other['id']}", headers=own),
        "stranger": await closed.delete(one),
        "invalid": await closed.patch(one, json={"lname": ""}, headers=OPERATOR),
        "no account": await closed.delete("/users/999999", headers=OPERATOR),
        "no account to change": await closed.patch("/users/999999", json={"lname": "O"}, headers=OPERATOR),
        "no account for an address": await closed.post("/users/999999/addresses", json=ACCRA, headers=OPERATOR),
        "no address": await closed.put(f"{one}/addresses/999999", json=ACCRA, headers=OPERATOR),
        "no address to delete": await closed.delete(f"{one}/addresses/999999", headers=OPERATOR),
        "no key": await closed.delete("/users/me/api-keys/999999", headers=own),
        "no country": await closed.delete("/countries/nowhere", headers=OPERATOR),
        "no source": await closed.post("/countries/refresh", headers=OPERATOR),
    }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "taken at creation": 409,
        "taken at change": 409,
        "stale change": 412,
        "stale deletion": 412,
        "role of herself": 403,
        "account of another": 403,
        "stranger": 401,
        "invalid": 400,
        "no account": 404,
        "no account to change": 404,
        "no account for an address": 404,
        "no address": 404,
        "no address to delete": 404,
        "no key": 404,
        "no country": 404,
        "no source": 503,
    }
    assert await trail(closed) == before


async def test_of_many_who_delete_at_once_one_succeeds_and_leaves_an_entry(closed):
    user = await create(closed, addresses=[ACCRA])
    own = await sign_in(closed)
    key = (await closed.post("/users/me/api-keys", json={"name": "k"}, headers=own)).json()
    await closed.post("/countries/refresh", headers=OPERATOR)
    told, one = await trail(closed), f"/users/{user['id']}"
    statuses = []

    for path, headers in {
        f"/users/me/api-keys/{key['id']}": own,
        f"{one}/addresses/{user['addresses'][0]['id']}": OPERATOR,
        "/countries/gh": OPERATOR,
        one: OPERATOR,
    }.items():
        answers = await asyncio.gather(*(closed.delete(path, headers=headers) for _ in range(6)))
        statuses.append(sorted(answer.status_code for answer in answers))

    assert statuses == [[204, *[404] * 5], [204, *[404] * 5], [200, *[404] * 5], [204, *[404] * 5]]
    actions = [entry["action"] for entry in (await trail(closed))[len(told) :]]
    assert actions == ["REVOKE_API_KEY", "DELETE_ADDRESS", "DELETE_COUNTRY", "DELETE_USER"]


async def test_what_changes_nothing_leaves_no_entry(closed):
    user = await create(closed, addresses=[ACCRA])
    one, before = f"/users/{user['id']}", await trail(closed)

    answers = [
        await closed.patch(one, json={}, headers=OPERATOR),
        await closed.patch(one, json={"lname": "Mensah"}, headers=OPERATOR),
        await closed.put(one, json=SHOWN, headers=OPERATOR),
        await closed.put(f"{one}/addresses/{user['addresses'][0]['id']}", json=ACCRA, headers=OPERATOR),
        await closed.get(one, headers=OPERATOR),
    ]

    assert [answer.status_code for answer in answers] == [200] * 5
    assert await trail(closed) == before
    assert answers[-1].json() == user


async def test_who_acts_in_an_open_development_service_is_anybody(client):
    await client.post("/users", json=ADA, headers={"X-Request-ID": "r-1"})

    (told,) = await trail(client, headers={})

    assert (told["actor"], told["actor_id"], told["request_id"]) == ("anybody", None, "r-1")


async def test_request_id_of_our_own_making_is_in_the_entry(closed):
    response = await closed.post("/users", json=ADA, headers=OPERATOR)

    (told,) = await trail(closed)

    assert told["request_id"] == response.headers["X-Request-ID"]


async def test_api_key_acts_for_its_account(closed):
    user = await create(closed)
    key = (await closed.post("/users/me/api-keys", json={"name": "k"}, headers=await sign_in(closed))).json()["key"]

    response = await closed.post("/countries/refresh", headers={"X-API-Key": key, "X-Request-ID": "r-9"})

    assert response.status_code == 200
    told = (await trail(closed))[-1]
    assert (told["action"], told["actor"]) == ("REFRESH_COUNTRIES", "Ada@example.com")
    assert (told["actor_id"], told["request_id"]) == (user["id"], "r-9")


async def test_refresh_that_nobody_asked_for_is_by_the_service(service):
    async with service(admin_api_key=KEY, refresh_on_start="if-empty") as client, asyncio.timeout(10):
        while not (told := await trail(client)):
            await asyncio.sleep(0.02)

    assert [(e["action"], e["actor"], e["actor_id"], e["request_id"]) for e in told] == [
        ("REFRESH_COUNTRIES", "service", None, None)
    ]


@pytest.mark.engines("sqlite")  # the engine makes no difference, and a process takes its time
async def test_command_line_is_named_as_such(closed, database_url, tmp_path):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "create-admin", "ada@example.com"),
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database_url,
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate(f"{PASSWORD}\n".encode())

    assert process.returncode == 0, out.decode()
    (told,) = await trail(closed)
    changes = {**SHOWN, "fname": "Admin", "lname": "Admin", "email": "ada@example.com", "role": "admin"}
    about = {"actor": "command line", "request_id": None, "changes": added({**changes, "addresses": []})}
    number = told["object_id"]
    assert told == entry("CREATE_USER", "User", number, f"User {number} created", **about)


async def write_all(client, user: dict[str, Any]) -> list[int]:
    """One of each kind of write; the statuses of the answers."""
    one = f"/users/{user['id']}"
    address, own = user["addresses"][0]["id"], await sign_in(client)
    answers = [
        await client.post("/users", json={**ADA, "email": "kofi@example.com"}, headers=OPERATOR),
        await client.patch(one, json={"lname": "Owusu"}, headers=OPERATOR),
        await client.post(f"{one}/addresses", json=ACCRA, headers=OPERATOR),
        await client.put(f"{one}/addresses/{address}", json={**ACCRA, "city": "Tema"}, headers=OPERATOR),
        await client.delete(f"{one}/addresses/{address}", headers=OPERATOR),
        await client.post("/users/me/api-keys", json={"name": "another"}, headers=own),
        await client.delete("/countries/gh", headers=OPERATOR),
        await client.post("/countries/refresh", headers=OPERATOR),
        await client.delete(one, headers=OPERATOR),
    ]
    return [answer.status_code for answer in answers]


async def all_there_is(client) -> list[Any]:
    users = (await client.get("/users", headers=OPERATOR)).json()
    countries = (await client.get("/countries")).json()
    async with client.state["database"].reading() as session:
        keys = "SELECT id, name FROM credential WHERE kind = 'key'"
        return [users, countries, [tuple(row) for row in await (await session.connection()).exec_driver_sql(keys)]]


async def test_change_whose_entry_can_not_be_written_does_not_happen(closed, monkeypatch):
    user = await create(closed, addresses=[ACCRA])
    await closed.post("/countries/refresh", headers=OPERATOR)
    before, told = await all_there_is(closed), await trail(closed)

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("on purpose")

    for module in ("users.crud", "users.addresses", "users.sign_in", "countries.crud", "refresh.crud"):
        monkeypatch.setattr(f"app.{module}.record", fail)
    statuses = await write_all(closed, user)

    assert statuses == [500] * 9
    assert await all_there_is(closed) == before
    assert await trail(closed) == told


async def test_change_whose_commit_fails_leaves_no_entry(closed, monkeypatch):
    user = await create(closed, addresses=[ACCRA])
    await closed.post("/countries/refresh", headers=OPERATOR)
    before, told, commit = await all_there_is(closed), await trail(closed), AsyncSession.commit

    async def fail_where_audited(session: AsyncSession) -> None:
        if "called after the commit" in session.info:
            raise RuntimeError("on purpose")
        await commit(session)

    monkeypatch.setattr(AsyncSession, "commit", fail_where_audited)
    statuses = await write_all(closed, user)

    assert statuses == [500] * 9
    assert await all_there_is(closed) == before
    assert await trail(closed) == told


def row(**values: Any) -> dict[str, Any]:
    known = {"action": "CREATE_USER", "object_type": "User", "object_id": "1", "actor": "service", "changes": "{}"}
    return {**known, "at": datetime(2026, 1, 1, tzinfo=UTC), **values}


async def put_into_trail(client, *rows: dict[str, Any]) -> None:
    async def put(session: AsyncSession) -> None:
        for values in rows:
            await session.exec(insert(AuditEntry).values(**values))

    await client.state["database"].transaction(put)


async def found(client, query: str) -> list[str]:
    response = await client.get(f"/audit{query}", headers=OPERATOR)
    assert response.status_code == 200, response.text
    return [entry["request_id"] for entry in response.json()]


async def test_filters_find_what_they_name_and_combine(closed):
    await put_into_trail(
        closed,
        row(request_id="a"),
        row(request_id="b", action="UPDATE_USER"),
        row(request_id="c", action="DELETE_COUNTRY", object_type="Country", object_id="Côte d’Ivoire"),
        row(request_id="d", object_id="2", actor="ada@example.com"),
    )

    assert await found(closed, "") == ["d", "c", "b", "a"]
    assert await found(closed, "?action=CREATE_USER") == ["d", "a"]
    assert await found(closed, "?action=create_user") == []
    assert await found(closed, "?object_type=User") == ["d", "b", "a"]
    assert await found(closed, "?object_id=1") == ["b", "a"]
    assert await found(closed, "?object_id=C%C3%B4te%20d%E2%80%99Ivoire") == ["c"]
    assert await found(closed, "?actor=ada@example.com") == ["d"]
    assert await found(closed, "?request_id=b") == ["b"]
    assert await found(closed, "?object_type=User&object_id=1&action=CREATE_USER") == ["a"]


async def test_since_is_inclusive_until_is_not_and_zones_count(closed):
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for minute in range(3):
        await put_into_trail(closed, row(request_id=str(minute), at=noon + timedelta(minutes=minute)))

    assert await found(closed, "?since=2026-01-01T12:01:00Z") == ["2", "1"]
    assert await found(closed, "?since=2026-01-01T12:01:00.000001Z") == ["2"]
    assert await found(closed, "?until=2026-01-01T12:01:00Z") == ["0"]
    assert await found(closed, "?since=2026-01-01T14:01:00%2B02:00&until=2026-01-01T07:02:00-05:00") == ["1"]
    assert await found(closed, "?since=9999-12-31T23:59:59Z") == []
    assert await found(closed, "?until=0001-01-01T00:00:00Z") == []


WRONG = {
    "since=2026-01-01T12:00:00": {"since": "must have a zone, such as Z or +02:00"},
    "until=2026-01-01": {"until": "must have a zone, such as Z or +02:00"},
    "since=0.5&until=1767225600": {
        "since": "must be a time, such as 2026-11-21T09:17:00Z",
        "until": "must be a time, such as 2026-11-21T09:17:00Z",
    },
    "since=yesterday": {"since": "must be a time, such as 2026-11-21T09:17:00Z"},
    "since=2026-01-01T12:00:00+02:00": {"since": "must be a time, such as 2026-11-21T09:17:00Z"},
    "since=0001-01-01T00:00:00%2B14:00": {"since": "is out of range"},
    "until=9999-12-31T23:59:59-14:00": {"until": "is out of range"},
    "limit=0&offset=-1": {"limit": "must be at least 1", "offset": "must be at least 0"},
    "limit=1001": {"limit": "must be at most 1000"},
    "action=": {"action": "must not be blank"},
    "actor=a&actor=b": {"actor": "is given more than once"},
    "user=1": {
        "user": "is not a parameter; known are: "
        "action, object_type, object_id, actor, request_id, since, until, limit, offset"
    },
}


@pytest.mark.engines("sqlite")  # refused before any query
async def test_wrong_parameters_are_refused(closed):
    answers = {query: (await closed.get(f"/audit?{query}", headers=OPERATOR)) for query in WRONG}

    assert {answer.status_code for answer in answers.values()} == {400}
    assert {query: answer.json() for query, answer in answers.items()} == {
        query: {"error": "Validation failed", "details": details} for query, details in WRONG.items()
    }


async def test_pages_are_told_in_headers(closed):
    await put_into_trail(closed, *(row(request_id=str(number)) for number in range(5)))
    await put_into_trail(closed, row(request_id="other", action="UPDATE_USER"))

    response = await closed.get("/audit?action=CREATE_USER&limit=2&offset=2", headers=OPERATOR)

    assert [entry["request_id"] for entry in response.json()] == ["2", "1"]
    assert response.headers["X-Total-Count"] == "5"
    assert response.headers["Link"] == ", ".join(
        f'</audit?action=CREATE_USER&limit=2&offset={offset}>; rel="{rel}"'
        for rel, offset in {"first": 0, "last": 4, "prev": 0, "next": 4}.items()
    )
    assert response.headers["Cache-Control"] == "no-store"


async def test_only_admins_see_the_trail(closed):
    await create(closed, role="editor")

    as_editor, as_stranger = await closed.get("/audit", headers=await sign_in(closed)), await closed.get("/audit")

    assert (as_editor.status_code, as_stranger.status_code) == (403, 401)
    assert as_editor.json() == {
        "error": "Forbidden",
        "details": "This is for: admin. You are: Ada@example.com, editor",
    }


async def test_entry_of_a_newer_version_can_be_read(closed):
    await put_into_trail(closed, row(action="MERGE_USER", changes=json.dumps({"x": {"before": 1, "after": 2}})))

    (told,) = (await closed.get("/audit", headers=OPERATOR)).json()

    about = {"actor": "service", "request_id": None, "changes": {"x": {"before": 1, "after": 2}}}
    assert told == {
        "id": told["id"],
        "at": "2026-01-01T00:00:00Z",
        **entry("MERGE_USER", "User", 1, "User 1 merge", **about),
    }
