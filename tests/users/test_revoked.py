"""Changes by a token or key that is revoked while the request runs: refused, wherever they are made."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from sqlmodel import select

from app.core.db.database import Database
from tests.conftest import RATES, Client
from tests.support import payloads
from tests.support.upstream import document
from tests.users.accounts import ADA, QUAY, RIDGE, create, overtaken, sign_in, stored, write

ENDED = {"error": "Unauthorized", "details": "The token or API key has just expired or been revoked; sign in again"}


async def deactivate(client: Client, user_id: int) -> None:
    response = await client.patch(f"/users/{user_id}", json={"is_active": False})
    assert response.status_code == 200, response.text


async def everything_stored(client: Client) -> dict[str, Any]:
    transfers = (await client.get("/tracking/sms_transfers")).json()
    numbers = [(await client.get(f"/tracking/sms_transfers/{t['UBID']}")).json()["states"] for t in transfers]
    return {**await stored(client), "transfers": transfers, "documents": numbers, **await shown(client)}


async def shown(client: Client) -> dict[str, str]:
    return {path: (await client.get(path)).text for path in ("/status", "/countries/gh")}


async def test_no_change_is_made_with_a_token_that_was_revoked_during_the_request(loaded):
    ada = await create(loaded, role="admin", addresses=[RIDGE])
    ubid = str(uuid4())
    transfer = {"UBID": ubid, "SMScount": 1, "documents": 1, "fileName": "f", "origName": "o"}
    await loaded.post("/tracking/sms_transfers", json=transfer)
    key_id = (await loaded.post("/users/me/api-keys", json={"name": "k"}, headers=await sign_in(loaded))).json()["id"]
    sms = {"SMScount": 1, "uniqueId": "A000000001", "data": {}}
    bodies: dict[str, Any] = {
        "POST /users": {**ADA, "email": "eve@example.com"},
        "PATCH /users/{user_id}": {"password": "the thief's new one"},
        "PUT /users/{user_id}": {**ADA, "role": "admin", "is_active": True},
        "POST /users/{user_id}/addresses": RIDGE,
        "PUT /users/{user_id}/addresses/{address_id}": QUAY,
        "POST /users/me/api-keys": {"name": "the thief's"},
        "POST /tracking/sms_transfers": transfer,
        "POST /tracking/sms_documents": {"UBID": ubid, "documents": [sms]},
    }
    ids = {"user_id": ada["id"], "address_id": ada["addresses"][0]["id"], "key_id": key_id}
    ids |= {"name": "gh", "ubid": ubid, "state": "SENT"}
    paths = (await loaded.get("/openapi.json")).json()["paths"]
    changes = [
        (method.upper(), template)
        for template, operations in paths.items()
        for method, operation in operations.items()
        if method != "get" and operation["x-access"] != "everyone"
    ]
    assert len(changes) == 18

    for method, template in changes:
        token = await sign_in(loaded)
        before: dict[str, Any] = {}

        async def revoke(before=before) -> None:
            await deactivate(loaded, ada["id"])
            await loaded.patch(f"/users/{ada['id']}", json={"is_active": True})
            before.update(await everything_stored(loaded))

        sent: dict[str, Any] = {"json": bodies.get(f"{method} {template}")}
        if template.endswith("/stream"):
            sent = {"content": b'{"SMScount":1,"uniqueId":"A000000001","data":{}}\n'}
            token |= {"Content-Type": "application/x-ndjson"}
        with overtaken(revoke):
            answer = await loaded.request(method, template.format(**ids), headers=token, **sent)

        details = ENDED["details"]
        if template.endswith("/stream"):
            details += "; stored: 0 document(s) from earlier lines"
        expected = (401, {**ENDED, "details": details})
        assert (method, template, answer.status_code, answer.json()) == (method, template, *expected)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="countries"'
        assert await everything_stored(loaded) == before


def documents(start: int) -> bytes:
    """Lines of a whole batch."""
    return b"".join(b'{"SMScount":1,"uniqueId":"%010d","data":{}}\n' % index for index in range(start, start + 5000))


@pytest.mark.parametrize("ending", ["deactivated", "expired"])
async def test_stream_stores_nothing_after_its_token_ended(client, ending):
    eve = await create(client, role="editor")
    token, ubid = await sign_in(client), str(uuid4())
    transfer = {"UBID": ubid, "SMScount": 1, "documents": 1, "fileName": "f", "origName": "o"}
    await client.post("/tracking/sms_transfers", json=transfer)

    async def slowly() -> AsyncIterator[bytes]:
        yield documents(0)
        if ending == "deactivated":
            await deactivate(client, eve["id"])
        else:
            await write(client, "UPDATE credential SET expires_at = '2020-01-01 00:00:00.000000'")
        yield documents(5000)

    headers = {**token, "Content-Type": "application/x-ndjson"}
    answer = await client.post(f"/tracking/sms_documents/{ubid}/stream", content=slowly(), headers=headers)

    details = f"{ENDED['details']}; stored: 5000 document(s) from earlier lines"
    assert (answer.status_code, answer.json()) == (401, {**ENDED, "details": details})
    states = (await client.get(f"/tracking/sms_transfers/{ubid}")).json()["states"]
    assert states == {"INIT": 5000, "SENT": 0, "DONE": 0}


async def test_revocation_waits_for_a_long_change_that_runs(service, monkeypatch):
    is_changing, may_go_on, once = asyncio.Event(), asyncio.Event(), Database._once

    async def stop_before_the_end(database: Database, work: Any, *arguments: Any, **options: Any) -> Any:
        async def and_wait(session: Any) -> Any:
            result = await work(session)
            is_changing.set()
            while not may_go_on.is_set():  # not idle, or MariaDB would end the transaction
                await session.exec(select(1))
                await asyncio.sleep(0.05)
            return result

        return await once(database, and_wait, *arguments, **options)

    async with service(db_timeout_seconds=1) as client:
        eve = await create(client, role="editor")
        token, ubid = await sign_in(client), str(uuid4())
        transfer = {"UBID": ubid, "SMScount": 1, "documents": 1, "fileName": "f", "origName": "o"}
        await client.post("/tracking/sms_transfers", json=transfer)
        monkeypatch.setattr(Database, "_once", stop_before_the_end)
        path, headers = f"/tracking/sms_documents/{ubid}/stream", {**token, "Content-Type": "application/x-ndjson"}
        change = asyncio.create_task(client.post(path, content=documents(0), headers=headers))
        await is_changing.wait()
        monkeypatch.undo()
        revocation = asyncio.create_task(deactivate(client, eve["id"]))
        await asyncio.wait([revocation], timeout=1.2)  # longer than other changes may take
        assert not revocation.done()

        may_go_on.set()
        assert (await change).status_code == 201
        await revocation
        assert (await client.post(path, content=documents(5000), headers=headers)).status_code == 401


async def test_of_two_new_passwords_at_once_one_wins(client):
    """Each waits for the other to let go of its token; the database ends one of them, which is then refused."""
    path = f"/users/{(await create(client))['id']}"
    tokens = [await sign_in(client) for _ in range(4)]
    passwords = [f"a password of number {number}" for number in range(4)]

    answers = await asyncio.gather(
        *(
            client.patch(path, json={"password": password}, headers=token)
            for password, token in zip(passwords, tokens, strict=True)
        )
    )

    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    winner = [answer.status_code for answer in answers].index(200)
    await sign_in(client, password=passwords[winner])


async def test_refresh_is_not_stored_for_a_revoked_token_but_for_those_who_joined_it(loaded, upstream):
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(*request: Any) -> None:
        is_asked.set()
        await may_answer.wait()
        await document(payloads.er_api())(*request)

    ada = await create(loaded, role="editor")
    await create(loaded, email="grace@example.com", role="editor")
    token, other = await sign_in(loaded), await sign_in(loaded, "grace@example.com")
    upstream.answers[RATES] = answer
    asked = [asyncio.create_task(loaded.post("/countries/refresh", headers=token))]
    await is_asked.wait()
    asked += [asyncio.create_task(loaded.post("/countries/refresh", headers=headers)) for headers in (other, token)]
    await asyncio.sleep(0.1)
    await deactivate(loaded, ada["id"])
    may_answer.set()
    first, joined, _ = await asyncio.gather(*asked)

    assert (first.status_code, first.json()) == (401, ENDED)
    assert joined.status_code == 200
    actors = [entry["actor"] for entry in (await loaded.get("/audit?action=REFRESH_COUNTRIES")).json()]
    assert actors == ["grace@example.com", "anybody"]
