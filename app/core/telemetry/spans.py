"""Cleans spans when they start; imported only if traces are sent, because the SDK takes long to import."""

from collections.abc import Callable
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor

from app.core.telemetry.log import REQUEST_ID

_QUERY: Final = "url.query"
_PATH: Final = "url.path"


class CleanSpans(SpanProcessor):
    """Treats spans like request log lines: path without secrets, no query, and the request id."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        self._hide = hide

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        attributes = span.attributes or {}
        if _QUERY in attributes:
            span.set_attribute(_QUERY, "REDACTED")
        if _PATH in attributes:
            span.set_attribute(_PATH, self._hide(str(attributes[_PATH])))
        if request_id := REQUEST_ID.get():
            span.set_attribute("request_id", self._hide(request_id))
