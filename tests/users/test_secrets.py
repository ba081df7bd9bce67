"""Passwords, tokens and keys never appear in responses, the log, the audit trail or a table."""

import io
import json

from sqlalchemy import event

from app.core.telemetry.log import configure_logging
from tests.conftest import serving
from tests.users.accounts import ADA, PASSWORD, create, rows, sign_in

OTHERS = {"new": "the second password", "guessed": "a wrong password", "short": "tooshort!!", "refused": "p" * 129}
EVERYTHING = ("user", "address", "credential", "audit", "lease", "country", "exchange_rate", "summarycache")


async def test_secrets_stay_secret(settings):
    noisy = settings.model_copy(update={"log_level": "DEBUG", "log_requests": "all"})
    stream = io.StringIO()
    lines = configure_logging(noisy, stream)
    answers = []

    async def remember(response) -> None:
        await response.aread()
        answers.append(f"{response.headers} {response.text}")

    async with serving(noisy, lines=lines) as client:
        client.event_hooks = {"response": [remember]}
        path = f"/users/{(await create(client))['id']}"
        await client.post("/users", json=ADA)
        for password in (OTHERS["short"], OTHERS["refused"]):
            await client.patch(path, json={"password": password})
            await client.post("/users", json={**ADA, "password": password})
        await client.post("/users", json={**ADA, "Password": PASSWORD})
        await client.post("/auth/token", data={"username": ADA["email"], "password": OTHERS["guessed"]})
        await client.post("/auth/token", data={"username": ADA["email"], "password": OTHERS["refused"]})
        await client.patch(path, json={"password": OTHERS["new"]})
        with_a_fault(client)
        assert (await client.post("/users", json={**ADA, "email": "b@example.com"})).status_code in (500, 503)
        shown = len(answers)
        token = await sign_in(client, password=OTHERS["new"])
        key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=token)).json()["key"]
        del answers[shown:]  # the one place where these two are shown
        await client.get("/users/me", headers={"X-API-Key": key})
        for listed in ("/users", "/users/me", "/users/me/api-keys", "/audit"):
            assert (await client.get(listed, headers=token)).status_code in (200, 403)
        await client.get("/users/me", headers={"X-API-Key": token["Authorization"]})
        audit = json.dumps((await client.get("/audit")).json())
        tables = {table: str(await rows(client, f"SELECT * FROM {table}")) for table in EVERYTHING}
        hashes = [row["password_hash"] for row in await rows(client, "SELECT password_hash FROM user")]
        digests = [row["digest"] for row in await rows(client, "SELECT digest FROM credential")]

    secrets = [PASSWORD, *OTHERS.values(), token["Authorization"].removeprefix("Bearer "), key]
    for place in (*answers, stream.getvalue(), audit, *tables.values()):
        assert [secret for secret in secrets if secret in place] == []
    for place in (*answers, stream.getvalue(), audit, tables["audit"]):
        assert [hidden for hidden in ("$argon2", *hashes, *digests) if hidden in place] == []
    assert '"password": {"before": null, "after": "changed"}' in audit
    assert (len(hashes), len(digests)) == (1, 2)
    assert "POST /users -> 201" in stream.getvalue()


def with_a_fault(client) -> None:
    """The next new account fails in the database, which quotes the statement in its error."""

    @event.listens_for(client.state["database"].engine.sync_engine, "before_cursor_execute", retval=True)
    def break_insert(_connection, _cursor, sql, parameters, *_):
        return (f"NONSENSE {sql}" if sql.startswith(("INSERT INTO user", 'INSERT INTO "user"')) else sql), parameters
