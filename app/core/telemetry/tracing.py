"""OpenTelemetry traces through FastAPI: which signals are sent, and what spans must not show."""

from collections.abc import Callable
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context

from app.core.telemetry.log import REQUEST_ID

TRACES_ONLY: Final[TelemetryConfig] = {"metrics": False, "logs": False}
"""FastAPI's metrics would miss cached responses, which ``/metrics`` counts; its logs would show secrets."""


def clean_spans(hide: Callable[[str], str]) -> None:
    """Treat spans like request log lines: path without secrets, no query, and the request id.

    ``hide`` removes secrets from a string. Without a tracer provider, which FastAPI sets up if traces are sent, this
    does nothing.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider) or not hasattr(provider, "add_span_processor"):
        return
    from opentelemetry.sdk.trace import Span, SpanProcessor  # noqa: PLC0415  # slow, and needed only for traces

    class CleanSpans(SpanProcessor):
        def on_start(self, span: Span, parent_context: Context | None = None) -> None:
            attributes = span.attributes or {}
            if "url.query" in attributes:
                span.set_attribute("url.query", "REDACTED")
            if "url.path" in attributes:
                span.set_attribute("url.path", hide(str(attributes["url.path"])))
            if request_id := REQUEST_ID.get():
                span.set_attribute("request_id", hide(request_id))

    provider.add_span_processor(CleanSpans())
