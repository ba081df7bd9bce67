"""The audit trail: each change leaves one entry, in its own transaction; other requests leave none."""

import asyncio
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from sqlmodel import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEntry
from app.audit.schemas import Action, ObjectType
from tests.conftest import COUNTRIES, RATES
from tests.support import payloads
from tests.support.command import start
from tests.support.upstream import document, status
from tests.users import accounts
from tests.users.accounts import OPERATOR, OPERATOR_KEY, PASSWORD, RIDGE, sign_in

NEW_PASSWORD = "another horse, another battery"
ADA = {**accounts.ADA, "email": "Ada@example.com", "role": "editor"}
SHOWN = {"fname": "Ada", "lname": "Mensah", "email": "Ada@example.com", "role": "editor", "is_active": True}


@pytest.fixture
async def closed(service):
    """A service to which only keys and tokens give access."""
    async with service(admin_api_key=OPERATOR_KEY) as client:
        yield client


async def trail(client, headers: Any = OPERATOR) -> list[Any]:
    """All entries, the oldest first, without their ids and times, which are checked here."""
    response = await client.get("/audit", params={"limit": 1000}, headers=headers)
    assert response.status_code == 200, response.text
    entries: list[Any] = response.json()[::-1]
    ids, times = [entry.pop("id") for entry in entries], [datetime.fromisoformat(entry.pop("at")) for entry in entries]
    assert ids == sorted(set(ids))
    assert times == sorted(times)
    assert all(abs(datetime.now(UTC) - time) < timedelta(minutes=1) for time in times)
    return entries


def entry(action: str, object_type: str, object_id: object, verb: str, **about: Any) -> dict[str, Any]:
    known = {"action": action, "object_type": object_type, "object_id": str(object_id), "request_id": "r-1"}
    known["summary"] = f"{object_type} {object_id} {verb}"
    return {**known, "actor": "ADMIN_API_KEY", "actor_id": None, **about}


def added(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: {"before": None, "after": value} for name, value in fields.items()}


def removed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: {"before": value, "after": None} for name, value in fields.items()}


async def create(client, **changes: Any) -> dict[str, Any]:
    return await accounts.create(client, OPERATOR, **{**ADA, **changes})


async def left_by(client, method: str, path: str, body: Any = None, *, headers: Any = OPERATOR) -> tuple[Any, Any]:
    """Make a change; the answer, and the one entry that it left."""
    number = len(await trail(client))
    response = await client.request(method, path, json=body, headers={"X-Request-ID": "r-1", **headers})
    assert response.is_success, response.text
    (left,) = (await trail(client))[number:]
    return (response.json() if response.content else None), left


async def test_changes_of_an_account_are_entries_with_what_changed_and_never_a_password(closed):
    user, left = await left_by(closed, "POST", "/users", {**ADA, "addresses": [RIDGE]})
    about, one = ("User", user["id"]), f"/users/{user['id']}"
    created = {**SHOWN, "addresses": user["addresses"]}
    assert left == entry("CREATE_USER", *about, "created", changes=added(created))

    own = await sign_in(closed)
    herself = {"actor": "Ada@example.com", "actor_id": user["id"]}
    _, left = await left_by(closed, "PATCH", one, {"lname": "Owusu", "fname": "Ada"}, headers=own)
    changes: dict[str, Any] = {"lname": {"before": "Mensah", "after": "Owusu"}}
    assert left == entry("UPDATE_USER", *about, "updated", **herself, changes=changes)
    _, left = await left_by(closed, "PUT", one, {**SHOWN, "fname": "Adwoa", "lname": "Owusu"}, headers=own)
    changes = {"fname": {"before": "Ada", "after": "Adwoa"}}
    assert left == entry("UPDATE_USER", *about, "updated", **herself, changes=changes)

    _, left = await left_by(closed, "PATCH", one, {"password": NEW_PASSWORD, "role": "admin", "fname": "Ada"})
    changes = {"fname": {"before": "Adwoa", "after": "Ada"}, "role": {"before": "editor", "after": "admin"}}
    changes |= added({"password": "changed"})
    assert left == entry("UPDATE_USER", *about, "updated", changes=changes)

    before, own = await trail(closed), await sign_in(closed, password=NEW_PASSWORD)
    _, left = await left_by(closed, "DELETE", one, headers=own)
    changes = removed({**created, "lname": "Owusu", "role": "admin"})
    assert left == entry("DELETE_USER", *about, "deleted", **herself, changes=changes)
    assert await trail(closed) == [*before, left]  # entries outlive the account


async def test_each_change_of_an_address_is_one_entry(closed):
    user = await create(closed)
    path = f"/users/{user['id']}/addresses"
    changed: dict[str, Any] = {**RIDGE, "street": "1 Castle Road", "postal_code": None}

    address, left = await left_by(closed, "POST", path, RIDGE)
    about = ("Address", f"{user['id']}/{address['id']}")
    assert left == entry("CREATE_ADDRESS", *about, "created", changes=added(RIDGE))
    _, left = await left_by(closed, "PUT", f"{path}/{address['id']}", changed)
    changes = {name: {"before": RIDGE[name], "after": changed[name]} for name in ("street", "postal_code")}
    assert left == entry("UPDATE_ADDRESS", *about, "updated", changes=changes)
    _, left = await left_by(closed, "DELETE", f"{path}/{address['id']}")
    changes = removed({name: value for name, value in changed.items() if value is not None})
    assert left == entry("DELETE_ADDRESS", *about, "deleted", changes=changes)


async def test_creating_and_revoking_an_api_key_is_one_entry_each(closed):
    user = await create(closed)
    own, path = await sign_in(closed), "/users/me/api-keys"
    herself = {"actor": "Ada@example.com", "actor_id": user["id"]}

    new = {"name": "nightly refresh", "scopes": ["refresh"]}
    key, left = await left_by(closed, "POST", path, new, headers=own)
    changes = added({**new, "expires_at": key["expires_at"]})
    about = ("API key", key["id"])
    assert left == entry("CREATE_API_KEY", *about, "created", **herself, changes=changes)
    _, left = await left_by(closed, "DELETE", f"{path}/{key['id']}", headers=own)
    changes = removed(new)
    assert left == entry("REVOKE_API_KEY", *about, "revoked", **herself, changes=changes)


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
    refresh = entry("REFRESH_COUNTRIES", "Countries", "", "") | {"object_id": None, "summary": "Countries refreshed"}
    assert await trail(closed) == [
        {**refresh, "changes": added(about(first))},
        entry("DELETE_COUNTRY", "Country", "Ghana", "deleted", changes=removed(fields)),
        {**refresh, "changes": again},
    ]


async def test_entry_of_a_refresh_compares_with_what_was_stored_at_its_end_not_its_start(loaded, upstream):
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
        assert [left["action"] for left in await trail(client, headers={})] == ["REFRESH_COUNTRIES"]


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
    left, one = await trail(closed), f"/users/{user['id']}"
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
    actions = [entry["action"] for entry in (await trail(closed))[len(left) :]]
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

    (left,) = await trail(client, headers={})

    assert (left["actor"], left["actor_id"], left["request_id"]) == ("anybody", None, response.headers["X-Request-ID"])


async def test_api_key_acts_for_its_account(closed):
    user = await create(closed)
    new = {"name": "k", "scopes": ["refresh"]}
    key = (await closed.post("/users/me/api-keys", json=new, headers=await sign_in(closed))).json()["key"]

    response = await closed.post("/countries/refresh", headers={"X-API-Key": key, "X-Request-ID": "r-9"})

    assert response.status_code == 200
    left = (await trail(closed))[-1]
    assert (left["action"], left["actor"]) == ("REFRESH_COUNTRIES", "Ada@example.com")
    assert (left["actor_id"], left["request_id"]) == (user["id"], "r-9")


async def test_refresh_that_nobody_asked_for_is_by_the_service(service):
    async with service(admin_api_key=OPERATOR_KEY, refresh_on_start="if-empty") as client, asyncio.timeout(10):
        while not (left := await trail(client)):
            await asyncio.sleep(0.02)

    (shown,) = [(e["action"], e["actor"], e["actor_id"], e["request_id"]) for e in left]
    assert shown == ("REFRESH_COUNTRIES", "service", None, None)


@pytest.mark.engines("sqlite")  # the engine makes no difference, and a process takes its time
async def test_command_line_is_named_as_such(closed, database_url, tmp_path):
    process = await start(tmp_path, "create-admin", "ada@example.com", DATABASE_URL=database_url)
    _, log = await process.communicate(f"{PASSWORD}\n".encode())

    assert process.returncode == 0, log.decode()
    (left,) = await trail(closed)
    changes = {**SHOWN, "fname": "Admin", "lname": "Admin", "email": "ada@example.com", "role": "admin"}
    about = {"actor": "command line", "request_id": None, "changes": added({**changes, "addresses": []})}
    number = left["object_id"]
    assert left == entry("CREATE_USER", "User", number, "created", **about)
    assert f"[AUDIT] CREATE_USER | User {number} created" in log.decode()


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
    own, one = await sign_in(closed), f"/users/{user['id']}"
    address = f"{one}/addresses/{user['addresses'][0]['id']}"
    before = await accounts.stored(closed), (await closed.get("/countries")).json()
    writes: list[tuple[str, str, Any]] = [
        ("POST", "/users", {**ADA, "email": "kofi@example.com"}),
        ("PATCH", one, {"lname": "Owusu"}),
        ("POST", f"{one}/addresses", RIDGE),
        ("PUT", address, {**RIDGE, "city": "Tema"}),
        ("DELETE", address, None),
        ("POST", "/users/me/api-keys", {"name": "another"}),
        ("DELETE", "/countries/gh", None),
        ("POST", "/countries/refresh", None),
        ("DELETE", one, None),
    ]

    for name, fault in faults.items():
        monkeypatch.setattr(name, fault)
    for method, path, body in writes:
        headers = own if "/me/" in path else OPERATOR
        answer = await closed.request(method, path, json=body, headers=headers)
        assert (method, path, answer.status_code) == (method, path, 500)

    assert (await accounts.stored(closed), (await closed.get("/countries")).json()) == before


async def put_into_trail(client, *rows: dict[str, Any]) -> None:
    about = {"action": "CREATE_USER", "object_type": "User", "object_id": "1", "actor": "service"}
    known = {**about, "request_id": None, "changes": "{}", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    async with client.state["database"].writing() as connection:
        await connection.execute(insert(AuditEntry), [{**known, **row} for row in rows])


async def found(client, queries: Iterable[str]) -> dict[str, list[str]]:
    """By query the ids of the requests in the answer, which name the entries here."""
    answers = {query: await client.get(f"/audit?{query}", headers=OPERATOR) for query in queries}
    return {query: [entry["request_id"] for entry in answer.json()] for query, answer in answers.items()}


async def test_filters_match_exactly_and_combine(closed):
    await put_into_trail(
        closed,
        {"request_id": "a"},
        {"request_id": "b", "action": "UPDATE_USER"},
        {"request_id": "c", "action": "DELETE_COUNTRY", "object_type": "Country", "object_id": "Côte d’Ivoire"},
        {"request_id": "d", "object_id": "2", "actor": "ada@example.com"},
    )

    queries = {
        "": ["d", "c", "b", "a"],
        "action=CREATE_USER": ["d", "a"],
        "object_type=User": ["d", "b", "a"],
        "object_id=1": ["b", "a"],
        "object_id=C%C3%B4te%20d%E2%80%99Ivoire": ["c"],
        "actor=ada@example.com": ["d"],
        "request_id=b": ["b"],
        "object_type=User&object_id=1&action=CREATE_USER": ["a"],
    }
    assert await found(closed, queries) == queries


async def test_since_is_inclusive_until_is_not_and_zones_count(closed):
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    await put_into_trail(closed, *({"request_id": str(n), "at": noon + timedelta(minutes=n)} for n in range(3)))

    queries = {
        "since=2026-01-01T12:01:00Z": ["2", "1"],
        "since=2026-01-01T12:01:00.000001Z": ["2"],
        "until=2026-01-01T12:01:00Z": ["0"],
        "since=2026-01-01T14:01:00%2B02:00&until=2026-01-01T07:02:00-05:00": ["1"],
        "since=9999-12-31T23:59:59Z": [],
        "until=0001-01-01T00:00:00Z": [],
    }
    assert await found(closed, queries) == queries


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
    "action=create_user": {"action": f"must be one of: {', '.join(get_args(Action))}"},
    "object_type=Users": {"object_type": f"must be one of: {', '.join(get_args(ObjectType))}"},
    "actor=a&actor=b": {"actor": "is given more than once"},
    "user=1": {
        "user": "unknown parameter; allowed: "
        "action, object_type, object_id, actor, request_id, since, until, limit, offset"
    },
}


@pytest.mark.engines("sqlite")  # refused before any query
async def test_wrong_parameters_are_refused(closed):
    for query, details in WRONG.items():
        answer = await closed.get(f"/audit?{query}", headers=OPERATOR)
        refusal = {"error": "Validation failed", "details": details}
        assert (query, answer.status_code, answer.json()) == (query, 400, refusal)


async def test_headers_describe_the_pages(closed):
    await put_into_trail(closed, *({"request_id": str(number)} for number in range(5)))
    await put_into_trail(closed, {"request_id": "other", "action": "UPDATE_USER"})

    response = await closed.get("/audit?action=CREATE_USER&limit=2&offset=2", headers=OPERATOR)

    assert [entry["request_id"] for entry in response.json()] == ["2", "1"]
    assert response.headers["X-Total-Count"] == "5"
    assert response.headers["Link"] == ", ".join(
        f'</audit?action=CREATE_USER&limit=2&offset={offset}>; rel="{rel}"'
        for rel, offset in {"first": 0, "last": 4, "prev": 0, "next": 4}.items()
    )
    assert response.headers["Cache-Control"] == "no-store"


async def test_entry_of_a_newer_version_can_be_read(closed):
    await put_into_trail(closed, {"action": "MERGE_USER", "changes": json.dumps({"x": {"before": 1, "after": 2}})})

    (left,) = (await closed.get("/audit", headers=OPERATOR)).json()

    about = {"actor": "service", "request_id": None, "changes": {"x": {"before": 1, "after": 2}}}
    expected = entry("MERGE_USER", "User", 1, "merge", **about)
    assert left == {"id": left["id"], "at": "2026-01-01T00:00:00Z", **expected}
