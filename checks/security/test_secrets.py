"""Secrets are planted wherever one may be, everything is used and broken, and no output contains one."""

import asyncio
import shutil
import sqlite3
import sys
from typing import Any, Final
from urllib.parse import quote

import httpx
import pytest

from app.core.http.access import Role
from checks.support.processes import sources
from tests.core.http.test_access import NOTHING
from tests.support.service import ServiceProcess
from tests.support.upstream import FakeUpstream, status

ADMIN, DATABASE, SOURCE, KEY, HOOK, REDIS, PASSWORD, WRONG = (
    f"hush+{what}/Geheim&n1s" for what in ("admin", "database", "source", "key", "hook", "redis", "password", "wrong")
)
AS_ADMIN: Final = {"X-API-Key": ADMIN}
USER: Final = {"fname": "A", "lname": "B", "email": "a@example.com", "password": PASSWORD, "role": Role.ADMIN}
NO_PORT: Final = "127.0.0.1:1"


def secret_settings(upstream: FakeUpstream) -> dict[str, Any]:
    """Every setting with a secret; some of the services do not answer, because errors reveal more."""
    source = f"http://user:{quote(SOURCE, safe='')}@127.0.0.1:{upstream.port}/broken?key={quote(SOURCE, safe='')}"
    return {
        "admin_api_key": ADMIN,
        "restcountries_api_key": KEY,
        "restcountries_url": f"{upstream.url('/v5')}?key={quote(KEY, safe='')}",
        "audit_webhook_url": f"http://{NO_PORT}/{quote(HOOK, safe='')}",
        "rate_limit_storage": f"redis://user:{quote(REDIS, safe='')}@{NO_PORT}/0",
        "rate_limit_reads": "1000000/second",
        "rate_limit_sign_in": "1000000/second",
        **{name: f"{source} {url}" for name, url in sources(upstream).items()},
        "log_level": "DEBUG",
    }


@pytest.mark.row("3.3 secrets in logs, answers and documents")
@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_no_output_contains_a_secret(tmp_path, sqlite_template, upstream: FakeUpstream, log_format, figure):
    """A password in a path cannot be distinguished from a name, and is logged.

    Broken on purpose: the log masked nothing; masked no tokens in paths; accepted a token as request id; showed the
    whole URL of a source.
    """
    shutil.copy(sqlite_template, database := tmp_path / "x.db")
    settings = {**secret_settings(upstream), "log_format": log_format}
    answers: list[httpx.Response] = []
    upstream.answers |= {"/broken": status(500, SOURCE), "/v5": status(401, KEY)}
    unreachable = f"mysql://user:{quote(DATABASE, safe='')}@{NO_PORT}/x"
    working = settings | {"database_url": f"sqlite:///{database}"}
    failing = settings | {"database_url": unreachable, "country_sources": "restcountries"}
    async with (
        ServiceProcess(tmp_path, **working) as service,
        ServiceProcess(tmp_path, **failing) as away,
        httpx.AsyncClient(base_url=service.url, timeout=60) as client,
        httpx.AsyncClient(base_url=away.url, timeout=60) as broken,
    ):
        assert (await client.post("/countries/refresh", headers=AS_ADMIN)).status_code == 200
        await client.post("/users", json=USER, headers=AS_ADMIN)
        form = {"username": USER["email"], "password": PASSWORD}
        token = (await client.post("/auth/token", data=form)).json()["access_token"]
        signed = {"Authorization": f"Bearer {token}"}
        key = (await client.post("/users/me/api-keys", json={"name": "k"}, headers=signed)).json()["key"]
        planted = (ADMIN, PASSWORD, WRONG, token, key)
        for one in (client, broken):
            for secret in planted:
                answers += [await request for request in everywhere(one, secret, form)]
        answers += await all_routes(client, signed)
        with sqlite3.connect(database) as connection:
            connection.execute("UPDATE user SET role = ?", [PASSWORD[:16]])
        for one in (client, broken):
            answers += await all_routes(one, AS_ADMIN)
            answers.append(await one.post("/countries/refresh", headers=AS_ADMIN))
        answers += [await client.post(f"/countries/refresh?force={quote(PASSWORD)}", headers=AS_ADMIN)]
        shown = await show_config({**service.environment, "DATABASE_URL": unreachable, "COLUMNS": "300"}, tmp_path)
        logs = service.log.read_text() + away.log.read_text()

    assert {200, 400, 401, 404, 405, 500, 503} <= {answer.status_code for answer in answers}
    assert "Traceback" in logs
    assert "The storage of rate limits failed" in logs
    texts = [f"{answer.status_code} {answer.headers} {answer.text}" for answer in answers]
    secrets = (*planted, DATABASE, SOURCE, KEY, HOOK, REDIS)
    hunted = {*secrets, *(quote(secret, safe="") for secret in secrets)}
    for place in (logs, shown, *texts):
        for secret in hunted:
            at = place.find(secret)
            assert at < 0, place[max(0, at - 300) : at + 100]
    found = f"{len(hunted)} spellings of {len(secrets)} secrets in {len(answers)} answers, {len(logs):,} bytes"
    figure(f"{found}: 0 found")


def everywhere(client: httpx.AsyncClient, secret: str, form: dict[str, Any]) -> list[Any]:
    """Requests with the secret in every place that a client can fill, valid or not."""
    path = quote(secret if secret not in (PASSWORD, WRONG) else "x", safe="")
    headers = (
        {"X-API-Key": secret},
        *({"Authorization": f"{scheme} {secret}"} for scheme in ("Bearer", "Basic")),
        {"X-Request-ID": secret, "Cookie": f"session={quote(secret)}", "User-Agent": secret, "Referer": secret},
        {"If-None-Match": secret, "X-Forwarded-For": secret},
    )
    truncated, as_json = f'{{"password": "{secret}', AS_ADMIN | {"Content-Type": "application/json"}
    return [
        *(client.get("/users", headers=some) for some in headers),
        *(client.get(f"/countries?{name}={quote(secret)}") for name in ("api_key", "sort", "limit", "fields")),
        *(client.get(f"/{place}{path}") for place in ("", "countries/", "rates/", "users/", "tracking/sms_transfers/")),
        client.request("BREW", f"/{path}"),
        client.post("/users", json={"password": secret, "token": secret, "role": secret}, headers=AS_ADMIN),
        client.post("/users", content=truncated, headers=as_json),
        client.patch("/users/1", json={"password": f"{secret}\ud800"[:-1] + "x" * 128}, headers=AS_ADMIN),
        client.post("/auth/token", data={**form, "password": secret + "x"}),
        client.post("/auth/token", data={"username": secret, "password": secret, "client_secret": secret}),
        client.post("/auth/token", data={"username": secret, "grant_type": secret}),
    ]


async def all_routes(client: httpx.AsyncClient, headers: dict[str, str]) -> list[httpx.Response]:
    document = await client.get("/openapi.json")
    answers = [document, await client.get("/docs"), await client.get("/metrics")]
    for template, operations in document.json()["paths"].items():
        path = template.format(**{**NOTHING, "user_id": 1})
        wanted = {"get", "put", "post"} & operations.keys() - ({"post"} if "refresh" in path else set())
        answers += [await client.request(method, path, headers=headers, json={"x": 1}) for method in sorted(wanted)]
    return answers


async def show_config(environment: dict[str, str], folder: Any) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "show-config"), cwd=folder, env=environment, stdout=-1, stderr=-2
    )
    shown = (await process.communicate())[0].decode()
    assert process.returncode == 0
    return shown
