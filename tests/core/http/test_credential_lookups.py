"""Look-ups of tokens and keys: what wrong ones cost, and that they lock nobody else out."""

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

from app.core.http.middleware.credential_lookups import CredentialLookups
from app.core.telemetry.counts import Counts
from app.users.credentials import new_secret
from tests.conftest import Client, Service
from tests.support.statements import recorded
from tests.users.accounts import create, sign_in

pytestmark = pytest.mark.engines("sqlite")  # the limits are before the database

KEY = "0123456789abcdef"
OPERATOR = {"X-API-Key": KEY}
CLOSED: dict[str, Any] = {"environment": "production", "admin_api_key": KEY, "rate_limit_sign_in": "5/minute"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def get_account(client: Client, headers: dict[str, str]) -> int:
    return (await client.get("/users/me", headers=headers)).status_code


async def test_wrong_credentials_are_limited_but_sign_ins_the_right_key_and_known_tokens_pass(service: Service):
    async with service(**CLOSED) as client:
        await create(client, OPERATOR)
        token = await sign_in(client)
        used = await get_account(client, token)
        wrong = [OPERATOR["X-API-Key"] + "x", "guess", new_secret("key"), "guess", new_secret("token"), "guess"]
        codes = [await get_account(client, {"X-API-Key": secret}) for secret in wrong]
        with recorded(client.state["database"]) as statements:
            refused = await client.get("/users/me", headers=bearer(new_secret("token")))
        new = await sign_in(client)
        key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=token)).json()["key"]
        afterwards = {
            "new token": await get_account(client, new),
            "new key": await get_account(client, {"X-API-Key": key}),
            "operator": (await client.get("/users", headers=OPERATOR)).status_code,
            "known token": await get_account(client, token),
            "without a credential": await get_account(client, {}),
            "public": (await client.get("/countries")).status_code,
        }

    assert (used, codes) == (200, [401] * 5 + [429])
    assert (refused.status_code, refused.json()["error"]) == (429, "Too many requests")
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert statements == []
    assert afterwards == {
        "new token": 200,
        "new key": 200,
        "operator": 200,
        "known token": 200,
        "without a credential": 401,
        "public": 200,
    }


async def test_refusal_of_a_wrong_token_has_the_figures_of_its_own_limit_not_of_reads(service: Service):
    async with service(**CLOSED | {"rate_limit_sign_in": "1/hour", "rate_limit_reads": "9/hour"}) as client:
        wrong, refused = [await client.get("/users/me", headers=bearer(new_secret("token"))) for _ in range(2)]

    assert (wrong.status_code, wrong.headers["RateLimit-Policy"]) == (401, '"reads";q=9;w=3600')
    assert (refused.status_code, refused.headers["RateLimit-Policy"]) == (429, '"credentials";q=1;w=3600')
    assert refused.headers["RateLimit"] == f'"credentials";r=0;t={refused.headers["Retry-After"]}'


async def test_known_token_that_was_revoked_is_refused_at_once(service: Service):
    async with service(**CLOSED) as client:
        await create(client, OPERATOR)
        token = await sign_in(client)
        await client.delete("/auth/token", headers=token)

        assert await get_account(client, token) == 401


async def test_unknown_secret_is_looked_up_once_and_a_new_one_works_at_once(client: Client):
    await create(client)
    token = await sign_in(client)
    unknown = bearer(new_secret("token"))
    with recorded(client.state["database"]) as statements:
        codes = [await get_account(client, unknown) for _ in range(20)]
    key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=token)).json()["key"]

    assert codes == [401] * 20
    assert len(statements) == 1
    assert await get_account(client, {"X-API-Key": key}) == 200


async def test_unknown_secret_is_looked_up_again_after_five_seconds(client: Client):
    now, asked = [0.0], []

    async def find(*secret: Any) -> None:
        asked.append(secret)

    lookups = CredentialLookups(find, Counts(), monotonic=lambda: now[0])
    scope = {"client": ("192.0.2.1", 1), "state": client.state}
    for now[0] in (0.0, 4.9, 5.1):
        assert await lookups.find(scope, "key", b"secret") is None
    assert await lookups.find(scope, "token", b"secret") is None  # another kind is another secret

    assert len(asked) == 3


async def test_random_tokens_take_two_units_of_database_work_at_a_time(client: Client, monkeypatch):
    # Sixty look-ups, two at a time, may take longer than a second on a busy machine.
    monkeypatch.setattr("app.core.http.middleware.credential_lookups._LONGEST_WAIT", 60)
    most, pool = 0, client.state["database"].pool
    await create(client)
    token = await sign_in(client)
    assert await get_account(client, token) == 200

    async def attack() -> int:
        return await get_account(client, bearer(new_secret("token")))

    attacks = [asyncio.create_task(attack()) for _ in range(60)]
    while not all(task.done() for task in attacks):
        most = max(most, pool.units)
        await asyncio.sleep(0)

    assert {task.result() for task in attacks} == {401}
    assert most == 2
    assert await get_account(client, token) == 200


async def test_last_quarter_of_the_units_is_for_callers_with_a_credential(service: Service):
    async with service(**CLOSED, db_pool_size=4, db_max_overflow=4) as client:
        await client.post("/countries/refresh", headers=OPERATOR)
        await create(client, OPERATOR)
        token = await sign_in(client)
        pool, codes = client.state["database"].pool, {}
        for units in (11, 12, 15, 16):
            with ExitStack() as stack:
                for _ in range(units):
                    stack.enter_context(pool.unit_of_work())
                stranger = (await client.get(f"/countries?offset={units}")).status_code
                public = (await client.get(f"/countries?limit={units}", headers=OPERATOR)).status_code
                operator = (await client.get("/audit?limit=1", headers=OPERATOR)).status_code
                codes[units] = stranger, public, operator, await get_account(client, token)

    assert codes == {
        11: (200, 200, 200, 200),
        12: (503, 200, 200, 200),
        15: (503, 200, 200, 200),
        16: (503, 503, 503, 503),
    }
