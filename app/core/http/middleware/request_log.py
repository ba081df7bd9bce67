"""The request log: an id, a metric and a log line for every request; lines are written in batches."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, partial
from itertools import count
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.config.settings import Settings
from app.core.http.cache.store import Headers, Ready
from app.core.telemetry.counts import METHODS, OTHER, Counts
from app.core.telemetry.log import REQUEST_ID, LogLines, console_head, has_colour, one_line, to_json

_REQUEST_ID: Final = re.compile(rb"(?!token_|key_)[A-Za-z0-9._-]{1,64}")
"""Not a token that was sent here by mistake: ids are logged, and stored in the audit trail."""
_FLUSH_SECONDS: Final = 0.05
"""How long a line waits for others; a process that is killed loses that much."""
_LONGEST_PATH: Final = 500
"""Characters."""
_NEVER: Final = 1000
"""A status above all others."""
ToLine = Callable[[str, str], str]
"""From the request's id and the message to a line."""


class RequestLog:
    """ASGI layer: gives every request an id, counts it, and writes one line about it.

    ``X-Request-ID`` is taken from the client if it is harmless, made otherwise, and always sent back. A record of
    the logging library would cost half as much as a cached answer, so the lines are made here. They look like all
    others, and are written before any later line.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: Settings,
        lines: LogLines,
        *,
        counts: Counts,
        label: Callable[[Scope], str],
        ready: Ready | None,
        headers: Headers,
        always: Headers,
    ) -> None:
        """Wrap all other layers.

        ``ready`` gives the reply to a GET that needs no other layer, None if every GET has to pass them. Such a reply
        gets ``headers`` on top, every other answer ``always``. ``label`` names the route of a request.
        """
        self.app = app
        self.lines = lines
        self.counts = counts
        self.label = label
        self.ready = ready
        self.headers = headers
        self.always = always
        never = settings.log_level in ("WARNING", "ERROR")
        self.least_status = _NEVER if never else {"all": 0, "errors": 400, "off": _NEVER}[settings.log_requests]
        self.to_line: ToLine = _json_line
        if settings.log_format == "console":
            self.to_line = partial(_console_line, colour=has_colour(settings, lines))
        # Unique in all processes together, and cheaper than a random id for each request.
        self.process = secrets.token_hex(4).encode()
        self.numbers = count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        fields = dict(scope["headers"])
        request_id = fields.get(b"x-request-id")
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            request_id = b"%b%08x" % (self.process, next(self.numbers))
        reply = self.ready(scope, fields) if self.ready is not None and scope["method"] == "GET" else None
        if reply is None:
            await self._pass_on(scope, receive, send, request_id, started)
            return
        status, headers, body, route = reply
        headers = (*headers, (b"x-request-id", request_id), *self.headers)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        seconds = time.perf_counter() - started
        self.counts.note_request("GET", route, status, seconds)
        if status >= self.least_status:
            self._log(scope, request_id, status, seconds)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: bytes, started: float) -> None:
        status = 500

        async def add_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = (*message["headers"], (b"x-request-id", request_id), *self.always)
            await send(message)

        token = REQUEST_ID.set(request_id.decode())
        try:
            await self.app(scope, receive, add_id)
        finally:
            REQUEST_ID.reset(token)
            seconds = time.perf_counter() - started
            method = scope["method"] if scope["method"] in METHODS else OTHER
            self.counts.note_request(method, self.label(scope), status, seconds)
            if status >= self.least_status:
                self._log(scope, request_id, status, seconds)

    def _log(self, scope: Scope, request_id: bytes, status: int, seconds: float) -> None:
        path = scope["path"]
        if len(path) > _LONGEST_PATH:
            path = f"{path[:_LONGEST_PATH]}..."
        line = self.to_line(request_id.decode(), f"{scope['method']} {path} -> {status} [{seconds:.4f}s]")
        if self.lines.gather(line):
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.lines.flush)


@lru_cache(maxsize=1)
def _local_time(second: int) -> tuple[str, str, str]:
    """Day, time and zone of a second; formatted once."""
    text = datetime.fromtimestamp(second).astimezone().isoformat()
    return text[:10], text[11:19], text[19:]


def _console_line(request_id: str, message: str, *, colour: bool) -> str:
    now = time.time()
    day, second, _ = _local_time(int(now))
    stamp = f"{day} {second}.{int(now % 1 * 1000):03d}"
    text = message if message.isprintable() else one_line(message)
    return console_head(stamp, "INFO", request_id, colour=colour) + text


def _json_line(request_id: str, message: str) -> str:
    now = time.time()
    day, second, zone = _local_time(int(now))
    stamp = f"{day}T{second}.{int(now % 1 * 1_000_000):06d}{zone}"
    plain = message.isprintable() and '"' not in message and "\\" not in message
    text = f'"{message}"' if plain else to_json(message)
    head = f'{{"time": "{stamp}", "level": "INFO", "logger": "{__name__}", '
    return f'{head}"message": {text}, "request_id": "{request_id}"}}'
