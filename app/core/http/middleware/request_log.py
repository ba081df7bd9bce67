"""The request log: an id, a metric and a log line for every request; lines are written in batches."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from itertools import count
from typing import Final, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.config.settings import Settings
from app.core.http.cache.ready import Ready
from app.core.http.cache.store import Headers
from app.core.telemetry.counts import RequestCounts, method_label
from app.core.telemetry.log import REQUEST_ID, LogLines, console_head, has_colour, one_line, to_json

T = TypeVar("T")

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
        counts: RequestCounts,
        label: Callable[[Scope], str],
        ready: Ready | None,
        headers: Headers,
        always: Headers,
    ) -> None:
        """Stand in front of all other layers.

        Args:
            app: The next layer.
            settings: What to log, and how.
            lines: Where the lines go.
            counts: Where answers are counted.
            label: Names the route of a request that was answered.
            ready: Gives the reply to a GET that needs no other layer; None if every GET has to pass them.
            headers: Headers that such a reply gets on top.
            always: Headers that every other answer gets on top.
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
        self.to_line = _json_lines() if settings.log_format == "json" else _console_lines(settings, lines)
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
        self.counts.add("GET", route, status, seconds)
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
            self.counts.add(method_label(scope["method"]), self.label(scope), status, seconds)
            if status >= self.least_status:
                self._log(scope, request_id, status, seconds)

    def _log(self, scope: Scope, request_id: bytes, status: int, seconds: float) -> None:
        path = scope["path"]
        if len(path) > _LONGEST_PATH:
            path = f"{path[:_LONGEST_PATH]}..."
        line = self.to_line(request_id.decode(), f"{scope['method']} {path} -> {status} [{seconds:.4f}s]")
        if self.lines.gather(line):
            asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.lines.flush)


def _clock(show: Callable[[datetime], T]) -> Callable[[], tuple[T, float]]:
    """A clock that formats each second once, and returns it with the fraction of the second."""
    second, shown = 0, show(datetime.fromtimestamp(0).astimezone())

    def now() -> tuple[T, float]:
        nonlocal second, shown
        moment = time.time()
        if int(moment) != second:
            second = int(moment)
            shown = show(datetime.fromtimestamp(second).astimezone())
        return shown, moment % 1

    return now


def _console_lines(settings: Settings, lines: LogLines) -> ToLine:
    colour = has_colour(settings, lines)
    clock = _clock(lambda local: f"{local:%Y-%m-%d %H:%M:%S}")

    def to_line(request_id: str, message: str) -> str:
        second, fraction = clock()
        stamp = f"{second}.{int(fraction * 1000):03d}"
        text = message if message.isprintable() else one_line(message)
        return console_head(stamp, "INFO", request_id, colour=colour) + text

    return to_line


def _json_lines() -> ToLine:
    clock = _clock(lambda local: (f"{local:%Y-%m-%dT%H:%M:%S}", local.isoformat()[19:]))

    def to_line(request_id: str, message: str) -> str:
        (second, zone), fraction = clock()
        stamp = f"{second}.{int(fraction * 1_000_000):06d}{zone}"
        plain = message.isprintable() and '"' not in message and "\\" not in message
        text = f'"{message}"' if plain else to_json(message)
        return (
            f'{{"time": "{stamp}", "level": "INFO", "logger": "{__name__}", "message": {text}, '
            f'"request_id": "{request_id}"}}'
        )

    return to_line
