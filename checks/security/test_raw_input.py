"""Any bytes in addresses, queries and header fields, and any text in names, through a real server."""

import json
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies

from checks.security.test_injection import KNOWN_HEADERS
from checks.security.wire import Reply, ask, forged_lines, request
from checks.support.bodies import UBID, transfer
from checks.support.processes import BUNDLED
from tests.support.service import ServiceProcess

FIELDS = b"""X-Request-ID If-None-Match If-Match Origin Accept Accept-Encoding User-Agent X-API-Key Authorization
    X-Forwarded-For Forwarded Range Expect Cookie Upgrade Content-Type Content-Encoding Access-Control-Request-Method
    Access-Control-Request-Headers Content-Length Transfer-Encoding Connection Host""".split()
PATHS = (b"/countries", b"/countries/ghana", b"/countries/image", b"/rates", b"/users", b"/audit", b"/status", b"/")
METHODS = (b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"DELETE", b"TRACE", b"BREW")
in_line = strategies.binary(max_size=60).filter(lambda value: b"\n" not in value and b"\r" not in value)
in_target = in_line.map(lambda value: value.replace(b" ", b"%"))

pytestmark = [pytest.mark.engines("sqlite")]


@pytest.fixture
async def service(database_url, tmp_path):
    async with (
        ServiceProcess(tmp_path, database_url=database_url, log_requests="all", **BUNDLED) as started,
        httpx.AsyncClient(base_url=started.url, timeout=30) as client,
    ):
        assert (await client.post("/countries/refresh")).status_code == 200
        yield started


def tries(number: int) -> settings:
    """Settings with the same examples in each run."""
    return settings(max_examples=number, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))


def problem(reply: Reply) -> str | None:
    """What is wrong with a response, whatever the request; None if nothing is."""
    if reply.status >= 500:
        return f"status {reply.status}"
    if reply.answers != 1:
        return f"{reply.answers} answers"
    unknown = set(reply.headers) - KNOWN_HEADERS
    return f"headers {unknown}" if unknown else None


@pytest.mark.row("1.5 any bytes in addresses, queries and headers")
def test_any_bytes_get_one_response_and_one_log_line(service, is_full, figure):
    """Seen to fail: with any ``X-Request-ID`` sent back, and with log lines as they come."""
    number = 2000 if is_full else 100
    found: list[str] = []

    @tries(number)
    @given(
        strategies.sampled_from(METHODS),
        strategies.sampled_from(PATHS),
        in_target,
        in_target,
        strategies.lists(strategies.tuples(strategies.sampled_from(FIELDS), in_line), max_size=4),
    )
    def send(method: bytes, path: bytes, more: bytes, query: bytes, fields: list[tuple[bytes, bytes]]) -> None:
        target = path + (b"/" + more if more else b"") + (b"?" + query if query else b"")
        raw = request(target, *(name + b": " + value for name, value in fields), method=method)
        try:
            wrong = problem(ask(service.url, raw, b"", seconds=5))
        except Exception as error:  # everything but a response is a finding
            wrong = repr(error)
        if wrong:
            found.append(f"{raw!r}: {wrong}")

    send()
    log = service.log.read_text()
    forged = forged_lines(log, is_json=False)
    figure(f"{number:,} requests, {len(found)} wrong answers, {len(forged)} forged lines")
    assert found == []
    assert forged == []
    assert "Traceback" not in log


@pytest.mark.row("1.6 any text as a name and in a search")
def test_any_text_is_returned_unchanged_or_refused(service, is_full, figure):
    """Seen to fail: with names truncated to the column's length."""
    number = 2000 if is_full else 100
    taken = 0
    text = strategies.text(strategies.characters(), max_size=70)

    with httpx.Client(base_url=service.url, timeout=30) as client:

        @tries(number)
        @given(text)
        def send(name: str) -> None:
            nonlocal taken
            body = json.dumps({**transfer(), "fileName": name})  # JSON can express half of a character
            stored = client.post("/tracking/sms_transfers", content=body, headers={"Content-Type": "application/json"})
            assert stored.status_code in (201, 400), stored.text
            if stored.status_code == 201:
                taken += 1
                assert client.get(f"/tracking/sms_transfers/{UBID}").json()["fileName"] == name.strip()
            asked = quote(name, safe="", errors="surrogatepass")
            for url in (f"/countries?q={asked}", f"/users?q={asked}", f"/countries/{asked}x"):
                assert client.get(url).status_code in (200, 400, 404), url

        send()
    forged = forged_lines(service.log.read_text(), is_json=False)
    figure(f"{number:,} texts, {taken:,} taken and all of these unchanged, {len(forged)} forged lines")
    assert forged == []
