"""OpenTelemetry traces: sent only if enabled, and without secrets."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.conftest import COUNTRIES, RATES, migrate_in_thread
from tests.support.mariadb import free_port
from tests.support.service import ServiceProcess
from tests.support.upstream import FakeUpstream, body

KEY = "a-key-for-the-traces"
TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECEIVER = "/v1/traces"

pytestmark = pytest.mark.slow


@pytest.fixture
def process(tmp_path: Path, upstream: FakeUpstream) -> ServiceProcess:
    """A service with its own database; the fake upstream is also the trace collector."""
    upstream.answers[RECEIVER] = body(b"", Content_Type="application/x-protobuf")
    url = f"sqlite:///{tmp_path}/traced.db"
    migrate_in_thread(url)
    rates = f"{upstream.url(RATES)}?access_key={{key}}"
    sources = {"country_sources": upstream.url(COUNTRIES), "rate_sources": rates, "rate_api_key": KEY}
    collector = {"otel_exporter_otlp_endpoint": upstream.url(""), "otel_service_name": "countries"}
    return ServiceProcess(tmp_path, database_url=url, admin_api_key=KEY, log_format="json", **sources, **collector)


async def visit(process: ServiceProcess, **environment: str) -> None:
    """A refresh in a trace of the client, cached reads, and a path with a secret."""
    process.environment |= environment
    headers = {"X-API-Key": KEY, "X-Request-ID": "r-1", "traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
    async with process, httpx.AsyncClient(base_url=process.url, timeout=60) as client:
        await client.post("/countries/refresh?force=true", headers=headers)
        for _ in range(3):
            await client.get("/countries")
        await client.get(f"/countries/{KEY}", headers={"Authorization": f"Bearer {KEY}"})


def received(upstream: FakeUpstream) -> Iterator[Span]:
    for request in upstream.requests:
        if request.path == RECEIVER:
            for resource in ExportTraceServiceRequest.FromString(request.content).resource_spans:
                for scope in resource.scope_spans:
                    yield from scope.spans


def attributes(span: Span) -> dict[str, str]:
    return {item.key: item.value.string_value for item in span.attributes}


async def test_refresh_is_a_span_in_the_client_trace_and_spans_contain_no_secret(process, upstream):
    await visit(process, FASTAPI_OTEL_AUTO_CONFIGURE="true")

    spans = {span.name: span for span in received(upstream) if span.trace_id.hex() == TRACE_ID}
    refresh = spans["POST /countries/refresh"]
    assert (refresh.trace_id.hex(), refresh.parent_span_id.hex()) == (TRACE_ID, PARENT_ID)
    about = attributes(refresh)
    assert about["http.route"] == about["url.path"] == "/countries/refresh"
    assert about["request_id"] == "r-1"
    assert about["url.query"] == "REDACTED"
    assert spans["fastapi.endpoint"].parent_span_id == refresh.span_id
    lists = [span for span in received(upstream) if span.name == "GET /countries"]
    assert len(lists) == 1, "cached reads have no span"
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    (line,) = (line for line in lines if line["message"].startswith("Refreshed 250"))
    assert (line["trace_id"], line["request_id"]) == (TRACE_ID, "r-1")

    assert "/countries/********" in {attributes(span).get("url.path") for span in received(upstream)}
    assert not [span.name for span in received(upstream) if KEY.encode() in span.SerializeToString()]
    assert set(upstream.hits) == {COUNTRIES, RATES, RECEIVER}, "only spans are sent"


async def test_nothing_is_sent_by_default(process, upstream):
    await visit(process)

    assert set(upstream.hits) == {COUNTRIES, RATES}
    assert "trace_id" not in process.log.read_text()


async def test_service_runs_and_stops_without_the_collector(process, upstream):
    endpoint = {"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    await visit(process, FASTAPI_OTEL_AUTO_CONFIGURE="true", **endpoint)

    assert process.process.returncode in (0, -15)
    assert upstream.hits == {COUNTRIES: 1, RATES: 1}
