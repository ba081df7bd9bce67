"""Accounts: created, read, replaced, changed and deleted."""

import asyncio
from datetime import datetime
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from app.core.db.types import ServerNow
from app.main import create_app
from tests.conftest import CHEAP
from tests.support.engines import EVERY_ENGINE
from tests.users.accounts import ADA, PASSWORD, QUAY, RIDGE, create, failing, rows, sign_in, stored, write

NOT_FOUND = {"error": "User not found"}
TAKEN = {"error": "E-mail taken", "details": {"email": "is taken by another account"}}
REPLACEMENT = {"fname": "Grace", "lname": "Owusu", "email": "grace@example.org", "role": "editor", "is_active": False}


def account(created: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Ada's account as the service shows it after its creation."""
    shown: dict[str, Any] = {name: value for name, value in ADA.items() if name != "password"}
    shown |= {"role": "reader", "is_active": True, "addresses": [], **changes}
    return {**shown, "id": created["id"], "created_at": created["created_at"], "updated_at": created["created_at"]}


async def test_account_is_created_with_its_addresses(client):
    response = await client.post("/users", json={**ADA, "role": "editor", "addresses": [RIDGE, QUAY]})
    created = response.json()

    ids = [address["id"] for address in created["addresses"]]
    addresses = [{"id": ids[0], **RIDGE}, {"id": ids[1], **QUAY}]
    owned = [{**address, "user_id": created["id"]} for address in addresses]
    assert (response.status_code, created) == (201, account(created, role="editor", addresses=owned))
    assert ids == sorted(ids)
    assert response.headers["Location"] == f"/users/{created['id']}"
    assert response.headers["Cache-Control"] == "no-store"

    read = await client.get(response.headers["Location"])
    assert (read.status_code, read.content) == (200, response.content)
    assert read.headers["ETag"] == response.headers["ETag"]


async def test_account_without_addresses_is_an_active_reader(client):
    created = await create(client, fname="  Ada ", lname="\tMensah\n", email=" Ada@EXAMPLE.com ")

    assert created == account(created, email="Ada@example.com")


async def test_creation_that_fails_half_way_stores_nothing(client):
    before = await stored(client)
    with failing(client, "INSERT INTO address"):
        response = await client.post("/users", json={**ADA, "addresses": [RIDGE, QUAY]})

    assert (response.status_code, response.json()) == (500, {"error": "Internal server error"})
    assert await stored(client) == before
    await create(client)


@EVERY_ENGINE
async def test_address_of_an_account_is_taken_in_any_case(client):
    await create(client)
    await create(client, email="jürgen.ΣΑΣ@straße.example")
    grace = await create(client, email="grace@example.com")
    before = await stored(client)
    spellings = ("ADA@example.com", "ada@EXAMPLE.COM", " Ada@Example.Com ", "ju\u0308rgen.ΣΑΣ@straße.example")

    for email in spellings:
        answers = [
            await client.post("/users", json={**ADA, "email": email, "addresses": [RIDGE]}),
            await client.patch(f"/users/{grace['id']}", json={"email": email}),
            await client.put(f"/users/{grace['id']}", json={**REPLACEMENT, "email": email}),
        ]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(409, TAKEN)] * 3, email

    assert await stored(client) == before


@EVERY_ENGINE
async def test_one_of_several_requests_at_once_gets_an_address(client):
    spellings = ("ada@example.com", "ADA@example.com") * 4
    created = await asyncio.gather(*(client.post("/users", json={**ADA, "email": email}) for email in spellings))

    assert sorted(answer.status_code for answer in created) == [201] + [409] * 7
    assert all(answer.json() == TAKEN for answer in created if answer.status_code == 409)
    for table in ("user", "audit"):
        assert len(await rows(client, f"SELECT id FROM {table}")) == 1

    people = [await create(client, email=f"{name}@example.com") for name in ("grace", "jean", "mary")]
    new = {"email": "New@example.com"}
    changed = await asyncio.gather(*(client.patch(f"/users/{person['id']}", json=new) for person in people))
    assert sorted(answer.status_code for answer in changed) == [200, 409, 409]
    emails = [row["email"] for row in await rows(client, "SELECT email FROM user")]
    assert emails.count("New@example.com") == 1


async def test_address_of_a_changed_or_deleted_account_is_free(client):
    ada = await create(client)
    await client.patch(f"/users/{ada['id']}", json={"email": "other@example.com"})
    again = await create(client)
    await client.delete(f"/users/{again['id']}")

    await create(client)


async def test_account_that_does_not_exist_is_404(client):
    await create(client)
    before = await stored(client)

    for user_id in (987654, 2**63 - 1):
        answers = [
            await client.get(f"/users/{user_id}"),
            await client.put(f"/users/{user_id}", json=REPLACEMENT),
            await client.patch(f"/users/{user_id}", json={"fname": "Grace", "password": PASSWORD}),
            await client.delete(f"/users/{user_id}"),
            await client.delete(f"/users/{user_id}", headers={"If-Match": "*"}),
        ]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(404, NOT_FOUND)] * 5
    assert await stored(client) == before


async def test_put_replaces_everything_except_addresses_and_password(client):
    ada = await create(client, addresses=[RIDGE])

    response = await client.put(f"/users/{ada['id']}", json={**REPLACEMENT, "is_active": True})

    after = {**ada, **REPLACEMENT, "is_active": True, "updated_at": response.json()["updated_at"]}
    assert (response.status_code, response.json()) == (200, after)
    read = await client.get(f"/users/{ada['id']}")
    assert (read.content, read.headers["ETag"]) == (response.content, response.headers["ETag"])
    await sign_in(client, "grace@example.org")


async def test_patch_changes_only_the_given_fields(client):
    expected = await create(client, addresses=[RIDGE])
    path = f"/users/{expected['id']}"
    changes: list[dict[str, Any]] = [{"fname": "Grace"}, {"lname": "Owusu", "role": "admin"}, {"is_active": False}, {}]
    changes += [{"email": "ADA@example.com"}, {"email": "grace@example.org"}]

    for change in changes:
        response = await client.patch(path, json=change)
        expected |= {**change, "updated_at": response.json()["updated_at"]}
        assert (response.status_code, response.json()) == (200, expected)
        read = await client.get(path)
        assert (read.content, read.headers["ETag"]) == (response.content, response.headers["ETag"])


async def test_new_password_replaces_the_old_one(client):
    ada = await create(client)

    for change, new in (("patch", "another long one"), ("put", "and a third one")):
        body = {**REPLACEMENT, "email": ADA["email"], "is_active": True} if change == "put" else {}
        response = await client.request(change, f"/users/{ada['id']}", json={**body, "password": new})
        assert response.status_code == 200
        refused = await client.post("/auth/token", data={"username": ADA["email"], "password": PASSWORD})
        assert refused.status_code == 401
        await sign_in(client, password=new)


async def test_deleted_account_is_gone_with_its_addresses_and_credentials(client):
    ada = await create(client, addresses=[RIDGE, QUAY])
    grace = await create(client, email="grace@example.com", addresses=[QUAY])
    token = await sign_in(client)
    await client.post("/users/me/api-keys", json={"name": "nightly"}, headers=token)

    response = await client.delete(f"/users/{ada['id']}")

    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get(f"/users/{ada['id']}")).json() == NOT_FOUND
    assert (await client.get("/users")).json() == [grace]
    assert await rows(client, "SELECT user_id FROM address") == [{"user_id": grace["id"]}]
    assert await rows(client, "SELECT id FROM credential") == []
    assert (await client.delete(f"/users/{ada['id']}")).status_code == 404


async def test_change_is_made_if_a_tag_of_if_match_is_current(client):
    ada = await create(client, addresses=[RIDGE])
    path = f"/users/{ada['id']}"
    for condition in ("{tag}", '"other", {tag}', 'W/"other" , {tag}', "*"):
        for method, body in (("PATCH", {}), ("PUT", REPLACEMENT)):
            name = f"{method} {condition}"
            tag = (await client.get(path)).headers["ETag"]
            headers = {"If-Match": condition.format(tag=tag)}
            response = await client.request(method, path, json={**body, "fname": name}, headers=headers)
            assert (response.status_code, response.json()["fname"]) == (200, name)
            assert response.headers["ETag"] != tag

    tag = (await client.get(path)).headers["ETag"]
    assert (await client.delete(path, headers={"If-Match": f'"other", {tag}'})).status_code == 204


async def test_change_with_a_stale_tag_is_refused_and_changes_nothing(client):
    stale = (await client.post("/users", json=ADA)).headers["ETag"]
    path = f"/users/{(await client.get('/users')).json()[0]['id']}"
    tag = (await client.patch(path, json={"fname": "Grace"})).headers["ETag"]
    before = await stored(client)

    for condition in (stale, f'{stale}, "other"', f"W/{tag}", tag.strip('"'), '"*"', '""', ""):
        answers = [
            await client.request(method, path, json=body, headers={"If-Match": condition})
            for method, body in (("PUT", REPLACEMENT), ("PATCH", {"password": "another long one"}), ("DELETE", None))
        ]
        refused = {
            "error": "Precondition failed",
            "details": {"If-Match": f"has changed since you read it; its ETag is now {tag}"},
        }
        assert [(answer.status_code, answer.json()) for answer in answers] == [(412, refused)] * 3, condition
    assert await stored(client) == before


async def test_one_of_several_changes_to_the_same_version_wins(client):
    response = await client.post("/users", json=ADA)
    path, headers = response.headers["Location"], {"If-Match": response.headers["ETag"]}

    answers = await asyncio.gather(
        *(client.patch(path, json={"fname": f"Ada {turn}"}, headers=headers) for turn in range(8))
    )

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    winner = next(answer for answer in answers if answer.status_code == 200)
    assert (await client.get(path)).json() == winner.json()


@EVERY_ENGINE
async def test_changes_of_different_fields_at_once_are_all_kept(client):
    ada = await create(client)
    changes = {"fname": "Grace", "lname": "Owusu", "role": "editor", "email": "grace@example.com"}

    answers = await asyncio.gather(
        *(client.patch(f"/users/{ada['id']}", json={name: value}) for name, value in changes.items())
    )

    assert [answer.status_code for answer in answers] == [200] * 4
    after = (await client.get(f"/users/{ada['id']}")).json()
    assert after == {**ada, **changes, "updated_at": after["updated_at"]}
    assert (await client.get("/users?q=grace%20owusu")).json() == [after]  # also in what is searched


async def test_times_are_those_of_the_database_and_move_with_changes_only(client):
    ada = await create(client, addresses=[RIDGE])
    async with client.state["database"].reading() as session:
        clock = (await session.exec(select(ServerNow()))).one()
    assert abs((datetime.fromisoformat(ada["created_at"]) - clock).total_seconds()) < 60

    path = f"/users/{ada['id']}"

    async def last_change() -> datetime:
        return datetime.fromisoformat((await client.get(path)).json()["updated_at"])

    addresses = f"{path}/addresses"
    address = (await client.post(addresses, json=QUAY)).json()["id"]
    one = f"{addresses}/{address}"
    same = {"email": ADA["email"], "fname": "Ada", "role": "reader", "is_active": True}
    quiet: list[tuple[str, str, Any]] = [("PATCH", path, {}), ("PATCH", path, same), ("GET", path, None)]
    quiet += [("PUT", path, {**same, "lname": "Mensah"}), ("PUT", one, QUAY)]
    quiet += [("POST", "/users/me/api-keys", {"name": "nightly"})]
    loud: list[tuple[str, str, Any]] = [("PATCH", path, {"fname": "Grace"}), ("POST", addresses, RIDGE)]
    loud += [("PATCH", path, {"password": "another long one"}), ("PUT", one, RIDGE)]
    loud += [("DELETE", one, None), ("PUT", path, REPLACEMENT)]

    token = await sign_in(client)
    for method, target, body in quiet + loud:
        before = await last_change()
        await asyncio.sleep(0.003)  # SQLite's clock counts milliseconds
        headers = token if target.startswith("/users/me") else {}
        response = await client.request(method, target, json=body, headers=headers)
        assert response.is_success, response.text
        assert (await last_change() > before) == ((method, target, body) in loud), (method, target, body)
        assert (await client.get(path)).json()["created_at"] == ada["created_at"]


async def test_database_itself_keeps_addresses_and_credentials_with_their_account(client):
    ada = await create(client, addresses=[RIDGE, QUAY])
    grace = await create(client, email="grace@example.com", addresses=[QUAY])
    await sign_in(client)

    await write(client, "DELETE FROM user WHERE email_key = 'ada@example.com'")

    assert await rows(client, "SELECT user_id FROM address") == [{"user_id": grace["id"]}]
    assert await rows(client, "SELECT id FROM credential") == []
    orphan = "INSERT INTO address (user_id, street, city, country) VALUES (:owner, 'x', 'x', 'GH')"
    moved = "UPDATE address SET user_id = :owner"
    for statement in (orphan, moved):
        with pytest.raises(IntegrityError):
            await write(client, statement, {"owner": ada["id"]})


async def test_names_that_grow_when_folded_are_kept_whole(client):
    # One such character folds to eighteen, and three of these to nine.
    ada = await create(client, fname="ﷺ" * 100, lname="ﬃ" * 100)

    assert (ada["fname"], ada["lname"]) == ("ﷺ" * 100, "ﬃ" * 100)
    changed = await client.patch(f"/users/{ada['id']}", json={"fname": "ﬃ" * 100})
    assert changed.json()["fname"] == "ﬃ" * 100
    assert (await client.get("/users?q=ffiffi")).json() == [changed.json()]


async def test_id_of_a_deleted_account_or_key_is_never_reused(client):
    ids = []
    for turn in range(3):
        ada = await create(client, email=f"ada{turn}@example.com", addresses=[RIDGE])
        token = await sign_in(client, email=ada["email"])
        key = (await client.post("/users/me/api-keys", json={"name": "x"}, headers=token)).json()
        ids.append((ada["id"], ada["addresses"][0]["id"], key["id"]))
        await client.delete(f"/users/{ada['id']}")

    assert [len(set(column)) for column in zip(*ids, strict=True)] == [3, 3, 3]


async def test_location_is_below_the_prefix_of_the_service(settings):
    app = create_app(settings, hasher=CHEAP)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope, receive, send):
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(with_state, root_path="/api")
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as prefixed:
            user = await prefixed.post("/api/users", json=ADA)
            address = await prefixed.post(f"{user.headers['Location']}/addresses", json=RIDGE)

            assert user.headers["Location"] == f"/api/users/{user.json()['id']}"
            assert (await prefixed.get(address.headers["Location"])).json() == address.json()
