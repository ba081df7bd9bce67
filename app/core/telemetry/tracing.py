"""OpenTelemetry traces through FastAPI: which signals are sent, and what spans must not show."""

from collections.abc import Callable
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

TRACES_ONLY: Final[TelemetryConfig] = {"metrics": False, "logs": False}
"""FastAPI's metrics would miss cached responses, which ``/metrics`` counts; its logs would show secrets."""


def clean_spans(hide: Callable[[str], str]) -> None:
    """Clean the spans of the tracer provider that FastAPI set up; without one, do nothing.

    Args:
        hide: Removes secrets from a string.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return
    from app.core.telemetry.spans import CleanSpans  # noqa: PLC0415  # slow, and needed only if traces are sent

    if add := getattr(provider, "add_span_processor", None):
        add(CleanSpans(hide))
