"""Traces, where an operator asks FastAPI for them: which signals, and what their spans must not show."""

from collections.abc import Callable
from typing import Final

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

TRACES_ONLY: Final[TelemetryConfig] = {"metrics": False, "logs": False}
"""Its figures would miss all that memory answers, which ``/metrics`` has; its log would show what ours hides."""


def clean_spans(hide: Callable[[str], str]) -> None:
    """Clean the spans of the provider that FastAPI has set up before the start; nothing where there is none.

    Args:
        hide: Takes secrets out of a text.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider):
        return
    from app.core.telemetry.spans import CleanSpans  # noqa: PLC0415  # takes long, and is needed where traces are sent only

    if add := getattr(provider, "add_span_processor", None):
        add(CleanSpans(hide))
