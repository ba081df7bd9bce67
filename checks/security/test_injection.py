"""Hostile input is data: it is returned unchanged or refused, and forges neither log lines nor headers."""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from checks.security.payloads import ALL, FORGED
from checks.security.wire import forged_lines
from checks.support.bodies import ADA, UBID, transfer
from checks.support.processes import BUNDLED
from tests.support.service import ServiceProcess

KNOWN_HEADERS = {
    *("server", "date", "content-type", "content-length", "content-encoding", "connection", "vary", "etag", "age"),
    *("x-request-id", "x-content-type-options", "x-frame-options", "referrer-policy", "content-security-policy"),
    *("x-total-count", "link", "location", "allow", "retry-after", "content-disposition", "www-authenticate"),
    *("access-control-allow-origin", "access-control-expose-headers", "cache-status", "accept-encoding"),
    *("access-control-allow-methods", "access-control-allow-headers", "access-control-max-age", "transfer-encoding"),
    "cache-control",
}


@pytest.fixture
async def running(engine, database_url, tmp_path):
    """An open service that logs every request, with countries; each engine has another log format."""
    log_format = "console" if engine == "sqlite" else "json"
    settings = {"database_url": database_url, "log_requests": "all", "log_format": log_format, **BUNDLED}
    service = ServiceProcess(tmp_path, **settings)
    service.application = "checks.security.cheap:app"
    async with service, httpx.AsyncClient(base_url=service.url, timeout=30) as client:
        assert (await client.post("/countries/refresh")).status_code == 200
        yield service, client, log_format == "json"


class Tried:
    """Sends requests, and collects wrong responses."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.requests = 0
        self.wrong: list[str] = []

    async def send(self, method: str, url: str, *allowed: int, **parts: object) -> httpx.Response:
        """Send a request; 400 is always allowed."""
        answer = await self.client.request(method, url, **parts)  # type: ignore[arg-type]
        self.requests += 1
        if answer.status_code not in (*allowed, 400) or not set(answer.headers) <= KNOWN_HEADERS:
            self.wrong.append(
                f"{method} {url} {parts}: {answer.status_code} {dict(answer.headers)} {answer.text[:200]}"
            )
        return answer

    def expect(self, sent: object, got: object) -> None:
        if sent != got:
            self.wrong.append(f"{sent!r} came back as {got!r}")


async def store_as_name(tried: Tried, payload: str) -> None:
    """Store the payload as the name of an account, and search for it."""
    ada = {**ADA, "fname": payload, "email": "ada@example.com"}
    created = await tried.send("POST", "/users", 201, json=ada)
    if created.status_code == 201:
        shown = (await tried.client.get(created.headers["location"])).json()
        tried.expect(payload.strip(), shown["fname"])
        found = await tried.send("GET", "/users", 200, params={"q": payload})
        if found.status_code == 200:
            tried.expect([shown], found.json())
        other = await tried.send("GET", "/users", 200, params={"q": f"{payload}x"})
        tried.expect([], other.json() if other.status_code == 200 else [])
        await tried.client.delete(created.headers["location"])


async def store_as_data(tried: Tried, payload: str) -> None:
    """Store the payload in a transfer and in a document of it."""
    await tried.client.post("/tracking/sms_transfers", json=transfer())
    named = {**transfer(), "fileName": payload[:55]}
    created = await tried.send("POST", "/tracking/sms_transfers", 201, json=named)
    if created.status_code == 201:
        tried.expect(payload[:55].strip(), created.json()["fileName"])
    document = {"SMScount": 1, "uniqueId": "A", "data": {payload: [payload]}}
    await tried.send("POST", "/tracking/sms_documents", 201, json={"UBID": UBID, "documents": [document]})
    (shown,) = (await tried.client.get(f"/tracking/sms_documents/{UBID}/items")).json()
    tried.expect(document["data"], shown["data"])
    short = {"SMScount": 1, "uniqueId": payload[:10], "data": {}}
    await tried.send("POST", "/tracking/sms_documents", 201, json={"UBID": UBID, "documents": [short]})
    await tried.send("GET", f"/tracking/sms_documents/{UBID}/items", 200, params={"after": payload[:10]})
    await tried.client.delete(f"/tracking/sms_transfers/{UBID}")


def queries(payload: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Paths and queries with the payload, which find nothing."""
    name = quote(payload, safe="")
    yield from ((f"/countries/{name}", {}), (f"/countries/{name}/history", {}), (f"/{name}", {}))
    yield from ((f"/rates/{name}", {}), (f"/rates/{name}..{name}", {}), (f"/tracking/sms_transfers/{name}", {}))
    for parameter in ("q", "region", "currency", "sort", "fields", "limit", payload):
        yield "/countries", {parameter: payload}
    for parameter in ("base", "symbols", "source", "format"):
        yield "/rates", {parameter: payload}
    for parameter in ("action", "object_type", "object_id", "actor", "request_id", "since"):
        yield "/audit", {parameter: payload}


async def ask_for(tried: Tried, payload: str) -> None:
    """Send the payload in paths, queries and the sign-in form."""
    for path, query in queries(payload):
        # 405: a payload with a slash names another route.
        answer = await tried.send("GET", path, 200, 404, 405, params=query)
        if answer.status_code == 200 and "limit" not in query and query.get("currency") != payload:
            tried.expect([], answer.json())
    form = {"username": payload, "password": payload}
    await tried.send("POST", "/auth/token", 401, 429, data=form)


@pytest.mark.row("1.4 SQL, log and header injection")
async def test_payloads_are_returned_unchanged_or_refused(running, is_full, figure):
    """Seen to fail: with the search text inserted into the SQL; with line breaks not escaped in the log."""
    service, client, is_json = running
    tried, payloads = Tried(client), ALL if is_full else ALL[::9]
    before = (await client.get("/countries")).json()

    for payload in payloads:
        await store_as_name(tried, payload)
        await store_as_data(tried, payload)
        await ask_for(tried, payload)

    log = service.log.read_text()
    forged = forged_lines(log, is_json=is_json) + [line for line in log.splitlines() if line.startswith(FORGED[:10])]
    wrong = f"{len(tried.wrong)} wrong answers, {len(forged)} forged lines"
    figure(f"{len(payloads)} payloads in {tried.requests:,} requests, {wrong}")
    assert tried.wrong == []
    assert forged == []
    assert (await client.get("/countries")).json() == before
    assert "Traceback" not in log
