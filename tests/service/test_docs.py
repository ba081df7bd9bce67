"""The pages at /docs and /redoc as sent; test_browser.py opens them."""

import base64
import hashlib
import json
import re

import httpx
import pytest

from app.main import create_app
from app.service.docs import DOCUMENT
from tests.conftest import Client, make_settings

pytestmark = pytest.mark.engines("sqlite")  # no database takes part


@pytest.mark.parametrize("prefix", ["", "/api"])
async def test_document_names_the_prefix_and_is_not_generated_by_a_request(tmp_path, monkeypatch, prefix: str):
    app = create_app(make_settings(database_url=f"sqlite:///{tmp_path}/x.db"))
    monkeypatch.setattr(app, "openapi", lambda: pytest.fail("generated"))
    transport = httpx.ASGITransport(app, root_path=prefix)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        response = await client.get("/openapi.json")

    servers = {"servers": [{"url": prefix}]} if prefix else {}
    document = {**json.loads(DOCUMENT.read_bytes()), **servers}
    assert response.content == json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_page_loads_only_from_this_service_and_runs_only_its_own_scripts(client: Client, path: str):
    page = await client.get(path)

    loaded = re.findall(r'(?:src|href|spec-url)="([^"]*)"', page.text)
    assert (page.headers["content-type"], len(loaded) >= 3) == ("text/html; charset=utf-8", True)
    for address in loaded:
        assert (address[0], (await client.get(address)).status_code) == ("/", 200), address
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    scripts = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert policy["script-src"].split() == ["'self'", *(f"'sha256-{value}'" for value in hashes)]


async def test_page_does_not_store_keys_in_the_browser(client: Client):
    page = await client.get("/docs")

    assert '"tryItOutEnabled": true' in page.text
    assert "persistAuthorization" not in page.text


async def test_files_of_the_pages_are_compressed_and_cached_for_a_day(client: Client):
    path = "/docs/assets/swagger-ui-bundle.js"
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    coded = await client.get(path, headers={"Accept-Encoding": "gzip"})

    assert coded.content == plain.content
    assert coded.headers["content-encoding"] == "gzip"
    assert int(coded.headers["content-length"]) < len(plain.content) / 2
    assert (plain.headers["cache-control"], plain.headers["vary"]) == ("public, max-age=86400", "Accept-Encoding")
    assert plain.headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fcore.py", "%2e%2e%2fcore.py", "core.py"])
async def test_no_other_file_is_sent(client: Client, name: str):
    response = await client.get(f"/docs/assets/{name}")

    assert (response.status_code, response.json()) == (404, {"error": "Not found"})


async def test_every_response_has_the_security_headers_once(loaded: Client):
    wanted = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer"}
    paths = "/countries /countries /countries/nowhere /nowhere /docs / /health/live /countries?x=1"
    for path in paths.split():
        headers = (await loaded.get(path)).headers
        assert {name: headers.get_list(name) for name in wanted} == {name: [value] for name, value in wanted.items()}
        assert "server" not in headers, path
