"""Sign-out, and the limit of tokens of an account."""

import asyncio

from tests.users.accounts import create, rows, sign_in


async def test_sign_out_ends_the_token_of_the_request_and_no_other(client):
    await create(client)
    one, other = await sign_in(client), await sign_in(client)
    key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=one)).json()["key"]

    response = await client.delete("/auth/token", headers=one)

    assert (response.status_code, response.content) == (204, b"")
    assert (await client.get("/users/me", headers=one)).status_code == 401
    assert (await client.delete("/auth/token", headers=one)).status_code == 401
    assert (await client.get("/users/me", headers=other)).status_code == 200
    assert (await client.get("/users/me", headers={"X-API-Key": key})).status_code == 200


async def test_key_and_caller_without_an_account_have_nothing_to_sign_out(client):
    await create(client)
    key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=await sign_in(client))).json()["key"]

    response = await client.delete("/auth/token", headers={"X-API-Key": key})

    assert (response.status_code, response.json()) == (404, {"error": "Token not found"})
    assert (await client.get("/users/me", headers={"X-API-Key": key})).status_code == 200
    assert (await client.delete("/auth/token")).status_code == 401


async def test_several_sign_outs_at_once_end_the_token_once(client):
    await create(client)
    token = await sign_in(client)

    answers = await asyncio.gather(*(client.delete("/auth/token", headers=token) for _ in range(4)))

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {401, 404}
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
