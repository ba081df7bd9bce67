"""Every method on every path of a running service, as every kind of caller, against the table of docs/access.md."""

import asyncio
import re
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from app.core.http.access import KeyScope, Role, Rule
from app.users.credentials import digest, new_secret
from tests.core.http.test_access import KEY, NEVER_DONE, NOTHING, PASSWORD
from tests.support.service import ROOT, ServedProcess

METHODS: Final = ("OPTIONS", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "BREW")
PAGES: Final = ("/docs", "/redoc", "/docs/assets/swagger-ui.css", "/openapi.json")
UNLISTED: Final = (*PAGES, "/nowhere", "/users/1/roles", "//x")
MODES: Final = {
    "open development": {},
    "development": {"admin_api_key": KEY},
    "production": {"admin_api_key": KEY, "environment": "production"},
}
OPERATOR: Final = {"X-API-Key": KEY}
BODY_OF_NOTHING: Final = "content-length: 1000000000"
AT_ONCE, SECONDS = 8, 20

Rules = dict[tuple[str, str], tuple[Rule, str]]
"""The rule, and what it says of API keys, by method and path template."""


@dataclass(frozen=True)
class Visitor:
    """A caller, and what the service must recognise it as."""

    who: str
    headers: dict[str, str]
    role: Role | None = None
    """None for strangers, and with invalid credentials."""
    user_id: int | None = None


@pytest.mark.timeout(600)
@pytest.mark.row("4.1 walk over every route and method")
async def test_every_method_on_every_path_follows_the_table(tmp_path, sqlite_template, is_full, figure):
    """Requests to be refused announce a gigabyte and send none of it, so a service that reads first never responds.

    Broken on purpose: every account passed as the owner of each; tokens did not expire; the access check waited for a
    piece of the body.
    """
    walked = refused = 0
    for mode in MODES if is_full else ("production",):
        (folder := tmp_path / mode).mkdir()
        shutil.copy(sqlite_template, database := folder / "x.db")
        settings = {"database_url": f"sqlite:///{database}", "rate_limit_sign_in": "off", "log_level": "WARNING"}
        async with (
            ServedProcess(folder, **settings, **MODES[mode]) as service,
            httpx.AsyncClient(base_url=service.url, timeout=60) as client,
        ):
            as_admin = {} if mode == "open development" else OPERATOR
            visitors, rules = await invite(client, database, as_admin), table()
            assert rules == await listed(client)
            ids = [str(visitor.user_id) for visitor in visitors if visitor.user_id]
            before = (await client.get("/users", headers=as_admin)).text
            turns = asyncio.Semaphore(AT_ONCE)
            for visitor in visitors if is_full else visitors[::6]:
                all_paths = paths(rules, ids if is_full else ids[:1])
                walks = (walk(service.port, turns, mode, rules, visitor, *path) for path in all_paths)
                statuses = [status for found in await asyncio.gather(*walks) for status in found]
                walked, refused = walked + len(statuses), refused + sum(status in (401, 403) for status in statuses)
            assert (await client.get("/users", headers=as_admin)).text == before
            assert "ERROR" not in service.log.read_text()
    assert 0 < refused < walked
    figure(f"{walked:,} requests{' in 3 modes' if is_full else ''}, {refused:,} refused unread, failures 0")


async def invite(client: httpx.AsyncClient, database: Path, as_admin: dict[str, str]) -> list[Visitor]:
    """Create the accounts; returns all kinds of callers."""
    is_open = not as_admin
    visitors = [Visitor("stranger", {}, Role.ADMIN if is_open else None)]
    for name in (*Role, "other reader", "inactive"):
        role = Role(name) if name in list(Role) else Role.READER
        email = f"{name.replace(' ', '.')}@example.com"
        account = {"fname": name, "lname": "X", "email": email, "password": PASSWORD, "role": role}
        user_id = (await client.post("/users", json=account, headers=as_admin)).json()["id"]
        live, expired, gone = [await token(client, email) for _ in range(3)]
        key, revoked = [await new_key(client, live) for _ in range(2)]
        with sqlite3.connect(database) as connection:
            hashed = digest(expired["Authorization"].split()[1])
            connection.execute("UPDATE credential SET expires_at = created_at WHERE digest = ?", [hashed])
        assert (await client.delete("/auth/token", headers=gone)).status_code == 204
        last = (await client.get("/users/me/api-keys", headers=live)).json()[-1]["id"]
        assert (await client.delete(f"/users/me/api-keys/{last}", headers=live)).status_code == 204
        ended = {"an expired token": expired, "a token signed out": gone, "a revoked key": revoked}
        if name == "inactive":
            await client.patch(f"/users/{user_id}", json={"is_active": False}, headers=as_admin)
            ended |= {"a token": live, "a key": key}
        else:
            ended |= {"a token and a key": live | key, "a token and a wrong key": live | {"X-API-Key": KEY[1:]}}
            visitors += [Visitor(name, live, role, user_id), Visitor(f"{name} by key", key, role, user_id)]
        if name in ("inactive", Role.READER, Role.ADMIN):
            visitors += [Visitor(f"{name} with {what}", headers) for what, headers in ended.items()]
    wrong = {"X-API-Key": KEY[1:]}, {"Authorization": f"Bearer {new_secret('token')}"}, {"Authorization": "Basic YTpi"}
    visitors += [Visitor(f"wrong {next(iter(headers))}", headers) for headers in wrong]
    return [*visitors, Visitor("operator", OPERATOR, None if is_open else Role.ADMIN)]


async def token(client: httpx.AsyncClient, email: str) -> dict[str, str]:
    answer = await client.post("/auth/token", data={"username": email, "password": PASSWORD})
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def new_key(client: httpx.AsyncClient, signed: dict[str, str]) -> dict[str, str]:
    new = {"name": "x", "scopes": list(KeyScope)}
    answer = await client.post("/users/me/api-keys", json=new, headers=signed)
    return {"X-API-Key": answer.json()["key"]}


def table() -> Rules:
    """The rules in the documentation."""
    row = r"^\| `([A-Z]+) (/\S*)` \| (.+) \| (.+) \|$"
    found = re.findall(row, (ROOT / "docs/access.md").read_text(), re.MULTILINE)
    return {(method, path): (Rule(rule), scope) for method, path, rule, scope in found}


async def listed(client: httpx.AsyncClient) -> Rules:
    paths = (await client.get("/openapi.json")).json()["paths"].items()
    return {
        (method.upper(), path): (Rule(call["x-access"]), scope_of(call))
        for path, calls in paths
        for method, call in calls.items()
    }


def scope_of(call: dict[str, Any]) -> str:
    """What an API key needs, in the words of the documentation."""
    scope: str = call.get("x-scope", "refused") if "security" in call else "not needed"
    return scope


def paths(rules: Rules, ids: list[str]) -> list[tuple[str, str]]:
    """Each path template of the table, filled with ids that do not exist and with those of accounts."""
    filled = [(path, path.format(**{**NOTHING, "user_id": i})) for _, path in rules for i in ("987654", *ids)]
    return [*dict.fromkeys(filled), *((path, path) for path in UNLISTED)]


async def walk(
    port: int, turns: asyncio.Semaphore, mode: str, rules: Rules, visitor: Visitor, template: str, path: str
) -> list[int]:
    """Try every method on one path; returns the status codes."""
    statuses = []
    for method in METHODS:
        rule, scope = rules.get(("GET" if method == "HEAD" else method, template), (None, "not needed"))
        wanted = refusal(rule, visitor, method, path)
        if wanted is None and scope == "refused" and visitor.who.endswith("by key"):
            wanted = 403
        url = path + NEVER_DONE.get(f"{method} {template}", "")
        lines = [f"{method} {url} HTTP/1.1", "host: x", "connection: close", 'if-match: "stale"']
        lines += ["content-type: application/json", "content-length: 1" if wanted is None else BODY_OF_NOTHING]
        lines += [f"{name}: {value}" for name, value in visitor.headers.items()]
        body = "{" if wanted is None else ""
        async with turns, asyncio.timeout(SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write("\r\n".join([*lines, "", body]).encode())
            answer = await reader.read()
            writer.close()
        status = int(answer.split(b" ", 2)[1])
        case = (mode, visitor.who, method, url, status)
        if method == "BREW":
            assert status == 400, case  # the server itself refuses unknown methods
        elif wanted is not None:
            assert case == (*case[:-1], wanted)
            assert b"cache-control: no-store\r\n" in answer, case
            assert (b"www-authenticate: " in answer) is (wanted == 401), case
        else:
            assert (status not in (401, 403) and status < 500) or path == "/health/ready", case
            assert rule is not None or method in ("GET", "HEAD") or status in (404, 405), case
        statuses.append(status)
    return statuses


def refusal(rule: Rule | None, visitor: Visitor, method: str, path: str) -> int | None:
    """The status code with which the table refuses a request; None if it allows it."""
    if rule is None:
        rule = Rule.EVERYONE if method in ("GET", "HEAD", "OPTIONS", "BREW") else Rule.READER
    if rule is Rule.EVERYONE:
        return None
    is_nobody = visitor.who == "stranger" and rule is Rule.ACCOUNT
    if visitor.role is None or is_nobody:
        return 401
    if rule is Rule.ACCOUNT:
        return None if visitor.user_id else 403
    if rule is Rule.OWNER:
        is_own = visitor.user_id is not None and path.split("/")[2] == str(visitor.user_id)
        return None if is_own or visitor.role is Role.ADMIN else 403
    return None if visitor.role.includes(Role(rule.value)) else 403
