"""Who may write: nobody without the key, once there is one, and decided before the body is read."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.main import create_app
from tests.conftest import make_settings, serving

ROOT = Path(__file__).resolve().parent.parent
KEY = "correct-horse"
UNAUTHORIZED = {
    "error": "Unauthorized",
    "details": "This request needs the service's key in the header X-API-Key",
}
WRITES = [
    ("POST", "/countries/refresh"),
    ("POST", "/countries/refresh/"),
    ("POST", "/countries/refresh?force=nonsense"),
    ("DELETE", "/countries/ghana"),
    ("DELETE", "/countries/%20"),
    ("PUT", "/countries"),
    ("PATCH", "/status"),
    ("POST", "/nowhere"),
    ("DELETE", "/"),
    ("BREW", "/countries"),
]
WRONG = {
    "no key": [],
    "a wrong key": [("X-API-Key", "wrong-horse")],
    "a longer key": [("X-API-Key", f"{KEY}x")],
    "a shorter key": [("X-API-Key", KEY[:-1])],
    "another case": [("X-API-Key", KEY.upper())],
    "an empty key": [("X-API-Key", "")],
    "a key in bytes": [(b"X-API-Key", b"\xff\xfe")],
    "two keys": [("X-API-Key", KEY), ("X-API-Key", KEY)],
    "a right and a wrong key": [("X-API-Key", KEY), ("X-API-Key", "wrong")],
    "the key elsewhere": [("Authorization", f"Bearer {KEY}")],
}


@pytest.fixture
async def closed(tmp_path):
    """A service with a key; its database has no tables, so that whoever gets through is not served."""
    settings = make_settings(database_url=f"sqlite:///{tmp_path}/x.db", admin_api_key=KEY)
    async with serving(settings) as client:
        yield client


@pytest.mark.parametrize("wrong", WRONG)
async def test_every_write_needs_the_key(closed, wrong):
    for method, path in WRITES:
        response = await closed.request(method, path, headers=WRONG[wrong])

        assert (path, response.status_code, response.json()) == (path, 401, UNAUTHORIZED)
        assert response.headers["WWW-Authenticate"] == 'ApiKey realm="countries"'
        assert response.headers["Cache-Control"] == "no-store"


async def test_right_key_opens_what_there_is_to_open(service):
    async with service(admin_api_key=KEY) as client:
        headers = {"X-API-Key": KEY}
        refreshed = await client.post("/countries/refresh", headers=headers)
        deleted = await client.delete("/countries/ghana", headers=headers)
        wrong_method = await client.put("/countries", headers=headers)
        nowhere = await client.post("/nowhere", headers=headers)

    assert [answer.status_code for answer in (refreshed, deleted, wrong_method, nowhere)] == [200, 200, 405, 404]


async def test_refused_write_changes_nothing(service):
    async with service(admin_api_key=KEY) as client:
        await client.post("/countries/refresh", headers={"X-API-Key": KEY})
        before = (await client.get("/status")).json()
        await client.delete("/countries/ghana")
        await client.post("/countries/refresh")

        assert (await client.get("/status")).json() == before
        assert (await client.get("/countries/ghana")).status_code == 200


async def test_reading_stays_open(closed):
    for path in ("/", "/health/live", "/openapi.json", "/docs"):
        assert (await closed.get(path)).status_code == 200
        assert (await closed.head(path)).status_code == 200
    assert (await closed.get("/nowhere")).status_code == 404
    assert (await closed.options("/countries")).status_code == 405


async def test_key_of_other_letters_than_ascii_works(tmp_path):
    settings = make_settings(database_url=f"sqlite:///{tmp_path}/x.db", admin_api_key="schlüssel")
    async with serving(settings) as client:
        response = await client.post("/nowhere", headers=[(b"X-API-Key", "schlüssel".encode())])

    assert response.status_code == 404


async def test_without_a_key_a_development_service_is_open(client):
    assert (await client.post("/countries/refresh")).status_code == 200
    assert (await client.delete("/countries/ghana")).status_code == 200


async def test_stranger_is_turned_away_before_the_body_is_read(tmp_path):
    app = create_app(make_settings(database_url=f"sqlite:///{tmp_path}/x.db", admin_api_key=KEY))
    sent = []

    async def receive():
        pytest.fail("the body was read")

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"99999999999")]
    scope = {"type": "http", "method": "POST", "path": "/countries/refresh", "query_string": b"", "headers": headers}
    await app(scope, receive, send)

    assert [message.get("status") for message in sent] == [401, None]


def start_in_production(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import app.main"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ENVIRONMENT": "production", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_production_without_a_key_refuses_to_start_in_one_line(tmp_path):
    run = start_in_production(tmp_path, ADMIN_API_KEY="")

    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == "Wrong setting: ADMIN_API_KEY: is required when ENVIRONMENT=production\n"


def test_production_with_a_key_starts_without_a_warning(tmp_path):
    run = start_in_production(tmp_path, ADMIN_API_KEY=KEY)

    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
