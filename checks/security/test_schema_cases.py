"""Thousands of requests that schemathesis makes from the OpenAPI document, and their answers.

It runs as a separate program, because only there it has all its phases.
"""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from checks.support.bodies import ADA
from checks.support.processes import BUNDLED
from tests.support.service import ROOT, ServiceProcess

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
CONFIG = ROOT / "checks/security/schemathesis.toml"
OWN = "^/users/me"
"""Operations that need an account, which the operator does not have."""
KEY = "key-of-the-operator"
EXAMPLES = {"sqlite": 220, "mariadb": 10}
"""Random requests for each operation, in addition to edges and chains."""
LEAST_CASES = {"sqlite": 10_000, "mariadb": 2_000}

pytestmark = [pytest.mark.timeout(900)]


@pytest.fixture
async def running(database_url, tmp_path):
    """The service as in production with countries, but without the limits that would end the checks."""
    limits = {"rate_limit_refresh": "off", "rate_limit_sign_in": "off"}
    settings = {"database_url": database_url, "environment": "production", "admin_api_key": KEY, **limits, **BUNDLED}
    service = ServiceProcess(tmp_path, **settings)
    service.application = "checks.security.cheap:app"
    async with service, httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        loaded = await client.post("/countries/refresh", headers={"X-API-Key": KEY})
        assert loaded.status_code == 200
        yield service, client


async def sign_in(client: httpx.AsyncClient) -> str:
    ada = {**ADA, "email": "signs-in@example.com"}
    await client.post("/users", json=ada, headers={"X-API-Key": KEY})
    form = {"username": ada["email"], "password": ada["password"]}
    return str((await client.post("/auth/token", data=form)).json()["access_token"])


async def run(folder: Path, url: str, *arguments: str) -> tuple[dict[str, Any], str]:
    """Run schemathesis; returns its report and its output."""
    report = folder / "report.json"
    process = await asyncio.create_subprocess_exec(
        *(str(SCHEMATHESIS), "--config-file", str(CONFIG), "run", f"{url}/openapi.json", "--no-color", "--seed", "8"),
        *("--report", "json", "--report-json-path", str(report), "--continue-on-failure", *arguments),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert report.exists(), output
    return json.loads(report.read_text()), output


@pytest.mark.row("1.1 schemathesis on every operation")
async def test_every_response_matches_the_document(engine, running, tmp_path, is_full, figure):
    """Seen to fail: with ``until=0.5`` accepted, and with a document that did not exclude blank parameters."""
    service, client = running
    full, small = f"--max-examples {EXAMPLES[engine]}", "--max-examples 2 --phases examples,fuzzing"
    size = (full if is_full else small).split()

    runs = [await run(tmp_path, service.url, "-H", f"X-API-Key: {KEY}", "--exclude-path-regex", OWN, *size)]
    token = await sign_in(client)
    signed_in = "-H", f"Authorization: Bearer {token}", "--include-path-regex", OWN
    runs.append(await run(tmp_path, service.url, *signed_in, *size))

    cases = sum(report["test_cases"]["generated"] for report, _ in runs)
    failures = [failure for report, _ in runs for failure in report["failures"]]
    errors = sum(failure["count"] for failure in failures if failure["type"] == "ServerError")
    mismatches = sum(failure["count"] for failure in failures) - errors
    statuses = re.findall(r" -> (\d)\d\d \[", service.log.read_text())
    figure(f"{cases:,} cases, {errors} server errors, {mismatches} mismatches with the document")
    assert not failures, "\n".join(output for _, output in runs)
    assert [report["exit_code"] for report, _ in runs] == [0, 0], "\n".join(output for _, output in runs)
    assert statuses.count("5") == 0
    assert statuses.count("2") > len(statuses) / 10  # most requests are invalid on purpose
    assert cases >= LEAST_CASES[engine] or not is_full
