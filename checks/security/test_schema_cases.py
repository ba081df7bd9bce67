"""Every operation is held against the OpenAPI document, with thousands of requests, right and wrong ones.

schemathesis makes them, as a program of its own: only there it has all its phases (examples, edges of every schema,
random values, chains of operations along the links). Seed and document decide what it tries.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.service import ROOT, ServiceProcess

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CONFIG = ROOT / "checks/security/schemathesis.toml"
OWN = "^/users/me"
"""Operations for accounts, which the operator has none of."""
KEY = "key-of-the-operator"
EXAMPLES = {"sqlite": 220, "mariadb": 10}
"""For each operation, of random values; edges and chains come on top."""
LEAST_CASES = {"sqlite": 10_000, "mariadb": 2_000}

pytestmark = [pytest.mark.timeout(900)]


@pytest.fixture
async def running(database_url, tmp_path):
    """The service as in production, without the limits that would end the checks, and with countries."""
    service = ServiceProcess(
        tmp_path,
        database_url=database_url,
        environment="production",
        admin_api_key=KEY,
        country_sources="bundled",
        rate_sources="bundled",
        rate_limit_refresh="off",
        rate_limit_sign_in="off",
    )
    service.application = "checks.security.cheap:app"
    async with service, httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        loaded = await client.post("/countries/refresh", headers={"X-API-Key": KEY})
        assert loaded.status_code == 200
        yield service, client


async def sign_in(client: httpx.AsyncClient) -> str:
    ada = {"fname": "Ada", "lname": "Mensah", "email": "signs-in@example.com", "password": "correct horse battery"}
    await client.post("/users", json=ada, headers={"X-API-Key": KEY})
    form = {"username": ada["email"], "password": ada["password"]}
    return str((await client.post("/auth/token", data=form)).json()["access_token"])


async def run(folder: Path, url: str, *arguments: str) -> tuple[dict[str, Any], str]:
    """What schemathesis has found, and what it says about it."""
    report = folder / "report.json"
    process = await asyncio.create_subprocess_exec(
        *(str(SCHEMATHESIS), "--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--no-color", "--seed", "8"),
        *("--report", "json", "--report-json-path", str(report), "--continue-on-failure", *arguments),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    assert report.exists(), told
    return json.loads(report.read_text()), told


@pytest.mark.row("1.1 schemathesis on every operation")
async def test_every_answer_is_as_the_document_says(
    engine,
    running,
    tmp_path,
    is_full,
    figure,
):
    """Seen to fail: while ``until=0.5`` was taken, and while the document did not say that no parameter is blank."""
    service, client = running
    size = (
        ["--max-examples", str(EXAMPLES[engine])]
        if is_full
        else ["--max-examples", "2", "--phases", "examples,fuzzing"]
    )

    runs = [await run(tmp_path, service.url, "-H", f"X-API-Key: {KEY}", "--exclude-path-regex", OWN, *size)]
    token = await sign_in(client)
    runs.append(
        await run(tmp_path, service.url, "-H", f"Authorization: Bearer {token}", "--include-path-regex", OWN, *size)
    )

    cases = sum(report["test_cases"]["generated"] for report, _ in runs)
    failures = [failure for report, _ in runs for failure in report["failures"]]
    errors = sum(failure["count"] for failure in failures if failure["type"] == "ServerError")
    mismatches = sum(failure["count"] for failure in failures) - errors
    statuses = re.findall(r" -> (\d)\d\d \[", service.log.read_text())
    figure(f"{cases:,} cases, {errors} server errors, {mismatches} mismatches with the document")
    assert not failures, "\n".join(told for _, told in runs)
    assert [report["exit_code"] for report, _ in runs] == [0, 0], "\n".join(told for _, told in runs)
    assert statuses.count("5") == 0
    assert statuses.count("2") > len(statuses) / 10  # most are wrong on purpose, but it did get in
    assert cases >= LEAST_CASES[engine] or not is_full
