"""The audit trail: each change leaves one entry, in its own transaction; other requests leave none."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEntry
from tests.conftest import COUNTRIES, RATES
from tests.support import payloads
from tests.support.command import start
from tests.support.upstream import document, status
from tests.users.accounts import OPERATOR, OPERATOR_KEY, PASSWORD, RIDGE

NEW_PASSWORD = "another horse, another battery"
ADA = {"fname": "Ada", "lname": "Mensah", "email": "Ada@example.com", "password": PASSWORD, "role": "editor"}
SHOWN = {"fname": "Ada", "lname": "Mensah", "email": "Ada@example.com", "role": "editor", "is_active": True}


@pytest.fixture
async def closed(service):
    """A service to which only keys and tokens give access."""
    async with service(admin_api_key=OPERATOR_KEY) as client:
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


async def left_by(client, method: str, path: str, body: Any = None, *, headers: Any = OPERATOR) -> tuple[Any, Any]:
    """Make a change; the answer, and the one entry that it left."""
    number = len(await trail(client))
    response = await client.request(method, path, json=body, headers={"X-Request-ID": "r-1", **headers})
    assert response.is_success, response.text
    (told,) = (await trail(client))[number:]
    return (response.json() if response.content else None), told


async def test_changes_of_an_account_are_entries_with_what_changed_and_never_a_password(closed):
    user, told = await left_by(closed, "POST", "/users", {**ADA, "addresses": [RIDGE]})
    about, one, summary = ("User", user["id"]), f"/users/{user['id']}", f"User {user['id']} "
    created = {**SHOWN, "addresses": user["addresses"]}
    assert told == entry("CREATE_USER", *about, f"{summary}created", changes=added(created))

    own = await sign_in(closed)
    herself = {"actor": "Ada@example.com", "actor_id": user["id"], "request_id": "r-2"}
    _, told = await left_by(closed, "PATCH", one, {"lname": "Owusu", "fname": "Ada"}, headers=own)
    changes: dict[str, Any] = {"lname": {"before": "Mensah", "after": "Owusu"}}
    assert told == entry("UPDATE_USER", *about, f"{summary}updated", **herself, changes=changes)
    _, told = await left_by(closed, "PUT", one, {**SHOWN, "fname": "Adwoa", "lname": "Owusu"}, headers=own)
    changes = {"fname": {"before": "Ada", "after": "Adwoa"}}
    assert told == entry("UPDATE_USER", *about, f"{summary}updated", **herself, changes=changes)

    _, told = await left_by(closed, "PATCH", one, {"password": NEW_PASSWORD, "role": "admin", "fname": "Ada"})
    changes = {"fname": {"before": "Adwoa", "after": "Ada"}, "role": {"before": "editor", "after": "admin"}}
    changes |= added({"password": "changed"})
    assert told == entry("UPDATE_USER", *about, f"{summary}updated", changes=changes)

    before, own = await trail(closed), await sign_in(closed, password=NEW_PASSWORD)
    _, told = await left_by(closed, "DELETE", one, headers=own)
    changes = removed({**created, "lname": "Owusu", "role": "admin"})
    assert told == entry("DELETE_USER", *about, f"{summary}deleted", **herself, changes=changes)
    assert await trail(closed) == [*before, told]  # entries outlive the account


async def test_each_change_of_an_address_is_one_entry(closed):
    user = await create(closed)
    path = f"/users/{user['id']}/addresses"
    changed: dict[str, Any] = {**RIDGE, "street": "1 Castle Road", "postal_code": None}

    address, told = await left_by(closed, "POST", path, RIDGE)
    about, summary = ("Address", f"{user['id']}/{address['id']}"), f"Address {user['id']}/{address['id']} "
    assert told == entry("CREATE_ADDRESS", *about, f"{summary}created", changes=added(RIDGE))
    _, told = await left_by(closed, "PUT", f"{path}/{address['id']}", changed)
    changes = {name: {"before": RIDGE[name], "after": changed[name]} for name in ("street", "postal_code")}
    assert told == entry("UPDATE_ADDRESS", *about, f"{summary}updated", changes=changes)
    _, told = await left_by(closed, "DELETE", f"{path}/{address['id']}")
    changes = removed({name: value for name, value in changed.items() if value is not None})
    assert told == entry("DELETE_ADDRESS", *about, f"{summary}deleted", changes=changes)


async def test_creating_and_revoking_an_api_key_is_one_entry_each(closed):
    user = await create(closed)
    own, path = await sign_in(closed), "/users/me/api-keys"
    herself = {"actor": "Ada@example.com", "actor_id": user["id"], "request_id": "r-2"}

    key, told = await left_by(closed, "POST", path, {"name": "nightly refresh"}, headers=own)
    changes = added({"name": "nightly refresh", "expires_at": key["expires_at"]})
    about, summary = ("API key", key["id"]), f"API key {key['id']} "
    assert told == entry("CREATE_API_KEY", *about, f"{summary}created", **herself, changes=changes)
    _, told = await left_by(closed, "DELETE", f"{path}/{key['id']}", headers=own)
    changes = removed({"name": "nightly refresh"})
    assert told == entry("REVOKE_API_KEY", *about, f"{summary}revoked", **herself, changes=changes)


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

    name = "last_refreshed_at"
    again = {"total_countries": {"before": 249, "after": 250}}
    again |= {name: {"before": about(first)[name], "after": about(second)[name]}}
    fields = {name: country[name] for name in ("id", "name", "alpha2_code", "population", "currency_code")}
    refresh = ("REFRESH_COUNTRIES", "Countries", None, "Countries refreshed")
    assert await trail(closed) == [
        entry(*refresh, changes=added(about(first))),
        entry("DELETE_COUNTRY", "Country", "Ghana", "Country Ghana deleted", changes=removed(fields)),
        entry(*refresh, changes=again),
    ]


async def test_entry_of_a_refresh_compares_with_what_was_stored_at_its_end(loaded, upstream):
    """And not with what was stored when it began to fetch."""
    asked, deleted = asyncio.Event(), asyncio.Event()

    async def answer(*request: Any) -> None:
        asked.set()
        await deleted.wait()
        await document(payloads.er_api())(*request)

    upstream.answers[RATES] = answer
    waiting = asyncio.create_task(loaded.post("/countries/refresh"))
    await asked.wait()
    assert (await loaded.delete("/countries/gh")).status_code == 200
    deleted.set()
    assert (await waiting).status_code == 200

    last = (await trail(loaded, headers={}))[-1]
    assert last["action"] == "REFRESH_COUNTRIES"
    assert last["changes"]["total_countries"] == {"before": 249, "after": 250}


async def test_shared_refresh_is_one_entry(service, upstream, monkeypatch):
    calls: list[None] = []

    async def answer(*request: Any) -> None:
        while len(calls) < 5:
            await asyncio.sleep(0.01)
        await document(payloads.er_api())(*request)

    upstream.answers[RATES] = answer
    async with service(upstream_timeout_seconds=25) as client:
        refresher = client.state["refresher"]
        refresh = refresher.refresh

        async def refresh_counted(*arguments: Any, **options: Any) -> Any:
            calls.append(None)
            return await refresh(*arguments, **options)

        monkeypatch.setattr(refresher, "refresh", refresh_counted)
        answers = await asyncio.gather(*(client.post("/countries/refresh") for _ in range(5)))

        assert [answer.status_code for answer in answers] == [200] * 5
        assert [told["action"] for told in await trail(client, headers={})] == ["REFRESH_COUNTRIES"]


async def test_failed_request_leaves_no_entry(closed, upstream):
    user, other = await create(closed), await create(closed, email="kofi@example.com")
    own, one = await sign_in(closed), f"/users/{user['id']}"
    before = await trail(closed)
    stale = {**OPERATOR, "If-Match": '"stale"'}
    upstream.answers[COUNTRIES] = status(404)

    requests: list[tuple[int, str, str, Any, Any]] = [
        (409, "POST", "/users", ADA, OPERATOR),
        (409, "PATCH", one, {"email": other["email"]}, OPERATOR),
        (412, "PATCH", one, {"lname": "Owusu"}, stale),
        (412, "DELETE", one, None, stale),
        (403, "PATCH", one, {"role": "admin"}, own),
        (403, "DELETE", f"/users/{other['id']}", None, own),
        (401, "DELETE", one, None, {}),
        (400, "PATCH", one, {"lname": ""}, OPERATOR),
        (404, "DELETE", "/users/999999", None, OPERATOR),
        (404, "PATCH", "/users/999999", {"lname": "O"}, OPERATOR),
        (404, "POST", "/users/999999/addresses", RIDGE, OPERATOR),
        (404, "PUT", f"{one}/addresses/999999", RIDGE, OPERATOR),
        (404, "DELETE", f"{one}/addresses/999999", None, OPERATOR),
        (404, "DELETE", "/users/me/api-keys/999999", None, own),
        (404, "DELETE", "/countries/nowhere", None, OPERATOR),
        (503, "POST", "/countries/refresh", None, OPERATOR),
    ]

    for number, method, path, body, headers in requests:
        answer = await closed.request(method, path, json=body, headers=headers)
        assert (method, path, answer.status_code) == (method, path, number)
    assert await trail(closed) == before


async def test_of_several_deletions_at_once_one_succeeds_and_leaves_an_entry(closed):
    user = await create(closed, addresses=[RIDGE])
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


async def test_request_that_changes_nothing_leaves_no_entry(closed):
    user = await create(closed, addresses=[RIDGE])
    one, before = f"/users/{user['id']}", await trail(closed)

    answers = [
        await closed.patch(one, json={}, headers=OPERATOR),
        await closed.patch(one, json={"lname": "Mensah"}, headers=OPERATOR),
        await closed.put(one, json=SHOWN, headers=OPERATOR),
        await closed.put(f"{one}/addresses/{user['addresses'][0]['id']}", json=RIDGE, headers=OPERATOR),
        await closed.get(one, headers=OPERATOR),
    ]

    assert [answer.status_code for answer in answers] == [200] * 5
    assert await trail(closed) == before
    assert answers[-1].json() == user


async def test_actor_in_an_open_development_service_is_anybody(client):
    response = await client.post("/users", json=ADA)  # with a generated request id

    (told,) = await trail(client, headers={})

    assert (told["actor"], told["actor_id"], told["request_id"]) == ("anybody", None, response.headers["X-Request-ID"])


async def test_api_key_acts_for_its_account(closed):
    user = await create(closed)
    key = (await closed.post("/users/me/api-keys", json={"name": "k"}, headers=await sign_in(closed))).json()["key"]

    response = await closed.post("/countries/refresh", headers={"X-API-Key": key, "X-Request-ID": "r-9"})

    assert response.status_code == 200
    told = (await trail(closed))[-1]
    assert (told["action"], told["actor"]) == ("REFRESH_COUNTRIES", "Ada@example.com")
    assert (told["actor_id"], told["request_id"]) == (user["id"], "r-9")


async def test_refresh_that_nobody_asked_for_is_by_the_service(service):
    async with service(admin_api_key=OPERATOR_KEY, refresh_on_start="if-empty") as client, asyncio.timeout(10):
        while not (told := await trail(client)):
            await asyncio.sleep(0.02)

    (shown,) = [(e["action"], e["actor"], e["actor_id"], e["request_id"]) for e in told]
    assert shown == ("REFRESH_COUNTRIES", "service", None, None)


@pytest.mark.engines("sqlite")  # the engine makes no difference, and a process takes its time
async def test_command_line_is_named_as_such(closed, database_url, tmp_path):
    process = await start(tmp_path, "create-admin", "ada@example.com", DATABASE_URL=database_url)
    _, log = await process.communicate(f"{PASSWORD}\n".encode())

    assert process.returncode == 0, log.decode()
    (told,) = await trail(closed)
    changes = {**SHOWN, "fname": "Admin", "lname": "Admin", "email": "ada@example.com", "role": "admin"}
    about = {"actor": "command line", "request_id": None, "changes": added({**changes, "addresses": []})}
    number = told["object_id"]
    assert told == entry("CREATE_USER", "User", number, f"User {number} created", **about)
    assert f"[AUDIT] CREATE_USER | User {number} created" in log.decode()


async def write_all(client, user: dict[str, Any]) -> list[int]:
    """One of each kind of write; the statuses of the answers."""
    one = f"/users/{user['id']}"
    address, own = user["addresses"][0]["id"], await sign_in(client)
    answers = [
        await client.post("/users", json={**ADA, "email": "kofi@example.com"}, headers=OPERATOR),
        await client.patch(one, json={"lname": "Owusu"}, headers=OPERATOR),
        await client.post(f"{one}/addresses", json=RIDGE, headers=OPERATOR),
        await client.put(f"{one}/addresses/{address}", json={**RIDGE, "city": "Tema"}, headers=OPERATOR),
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


async def fail(*_: object, **__: object) -> None:
    raise RuntimeError("on purpose")


async def fail_where_audited(session: AsyncSession, commit: Any = AsyncSession.commit) -> None:
    if "called after the commit" in session.info:
        await fail()
    await commit(session)


USERS_OF_RECORD = ("users.crud", "users.addresses", "users.sign_in", "countries.crud", "refresh.store")


@pytest.mark.parametrize(
    "faults",
    [
        {f"app.{module}.record": fail for module in USERS_OF_RECORD},
        {f"{__name__}.AsyncSession.commit": fail_where_audited},
    ],
    ids=["entry", "commit"],
)
async def test_change_happens_with_its_entry_or_not_at_all(closed, monkeypatch, faults):
    user = await create(closed, addresses=[RIDGE])
    await closed.post("/countries/refresh", headers=OPERATOR)
    before, told = await all_there_is(closed), await trail(closed)

    for name, fault in faults.items():
        monkeypatch.setattr(name, fault)
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


async def test_filters_match_exactly_and_combine(closed):
    await put_into_trail(
        closed,
        row(request_id="a"),
        row(request_id="b", action="UPDATE_USER"),
        row(request_id="c", action="DELETE_COUNTRY", object_type="Country", object_id="Côte d’Ivoire"),
        row(request_id="d", object_id="2", actor="ada@example.com"),
    )

    queries = {
        "": ["d", "c", "b", "a"],
        "action=CREATE_USER": ["d", "a"],
        "action=create_user": [],
        "object_type=User": ["d", "b", "a"],
        "object_id=1": ["b", "a"],
        "object_id=C%C3%B4te%20d%E2%80%99Ivoire": ["c"],
        "actor=ada@example.com": ["d"],
        "request_id=b": ["b"],
        "object_type=User&object_id=1&action=CREATE_USER": ["a"],
    }
    assert {query: await found(closed, f"?{query}") for query in queries} == queries


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


NOT_A_TIME = "must be a time, such as 2026-11-21T09:17:00Z"
WRONG = {
    "since=2026-01-01T12:00:00": {"since": "must be a time with a zone, such as 2026-11-21T09:17:00Z"},
    "until=2026-01-01": {"until": "must be a time with a zone, such as 2026-11-21T09:17:00Z"},
    "since=0.5&until=1767225600": {"since": NOT_A_TIME, "until": NOT_A_TIME},
    "since=yesterday": {"since": NOT_A_TIME},
    "since=2026-01-01T12:00:00+02:00": {"since": NOT_A_TIME},
    "since=0001-01-01T00:00:00%2B14:00": {"since": "is out of range"},
    "until=9999-12-31T23:59:59-14:00": {"until": "is out of range"},
    "limit=0&offset=-1": {"limit": "must be at least 1", "offset": "must be at least 0"},
    "limit=1001": {"limit": "must be at most 1000"},
    "action=": {"action": "must not be blank"},
    "actor=a&actor=b": {"actor": "is given more than once"},
    "user=1": {
        "user": "unknown parameter; allowed: "
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


async def test_headers_describe_the_pages(closed):
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


async def test_entry_of_a_newer_version_can_be_read(closed):
    await put_into_trail(closed, row(action="MERGE_USER", changes=json.dumps({"x": {"before": 1, "after": 2}})))

    (told,) = (await closed.get("/audit", headers=OPERATOR)).json()

    about = {"actor": "service", "request_id": None, "changes": {"x": {"before": 1, "after": 2}}}
    expected = entry("MERGE_USER", "User", 1, "User 1 merge", **about)
    assert told == {"id": told["id"], "at": "2026-01-01T00:00:00Z", **expected}
