"""The request log: the outermost layer, which notes every request and sends answers that are ready."""

import time
from collections.abc import Callable

from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.http.cache.ready import KEPT, ReadyAnswers, spell
from app.core.http.request_notes import RequestNotes, summarize
from app.core.http.security_headers import ALWAYS
from app.core.telemetry.log import REQUEST_ID


class RequestLog:
    """ASGI layer: gives every request an id and security headers, counts it, and writes one line about it.

    A GET whose answer is ready calls no other layer. A response that the cache has kept becomes such an answer, as
    the other layers have sent it, without its id.
    """

    def __init__(self, app: ASGIApp, *, notes: RequestNotes, label: Callable[[Scope], str]) -> None:
        """Wrap all other layers; ``label`` names the route of a request."""
        self.app = app
        self.notes = notes
        self.label = label

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        fields = dict(scope["headers"])
        request_id = self.notes.choose_id(fields.get(b"x-request-id"))
        # Mounted in another application, there was no start and the state is empty.
        ready: ReadyAnswers | None = scope.setdefault("state", {}).get("ready")
        spelling = None
        if ready is not None and scope["method"] == "GET":
            spelling = spell(_target(scope), fields, scope["headers"])
            if (answer := ready.look(spelling)) is not None:
                headers = (*answer.headers, (b"x-request-id", request_id))
                await send({"type": "http.response.start", "status": answer.status, "headers": headers})
                await send({"type": "http.response.body", "body": answer.body})
                ready.note(answer, request_id, started)
                return
        start: Message | None = None

        async def add_id(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = {**message, "headers": (*message["headers"], *ALWAYS)}
                message = {**start, "headers": (*start["headers"], (b"x-request-id", request_id))}
            elif start is not None and ready is not None and spelling is not None and KEPT in scope["state"]:
                kept, route = scope["state"][KEPT], self.label(scope)
                ready.keep(spelling, scope, start, message["body"], route=route, kept=kept)
            await send(message)

        trace.get_current_span().set_attribute("request_id", request_id.decode())
        token = REQUEST_ID.set(request_id.decode())
        try:
            await self.app(scope, receive, add_id)
        finally:
            REQUEST_ID.reset(token)
            status = start["status"] if start else 500
            summary = summarize(scope["method"], scope["path"], status)
            self.notes.note(scope["method"], self.label(scope), status, request_id, summary, started)


def _target(scope: Scope) -> bytes:
    """What the client wrote in the request line."""
    query = scope["query_string"]
    return b"%b?%b" % (scope["raw_path"], query) if query else scope["raw_path"]
