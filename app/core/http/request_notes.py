"""What is noted about every request, also one that never reaches ASGI: an id, a metric, and a log line."""

import asyncio
import hmac
import re
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, partial
from itertools import count
from typing import Final

from app.core.config.settings import Settings
from app.core.telemetry.counts import METHODS, OTHER, Counts
from app.core.telemetry.log import LogLines, console_head, has_colour, one_line, to_json

_REQUEST_ID: Final = re.compile(rb"(?!token_|key_)[A-Za-z0-9._-]{1,64}")
"""Not a token that was sent here by mistake: ids are logged, and stored in the audit trail."""
_FLUSH_SECONDS: Final = 0.05
"""How long a line waits for others; a process that is killed loses that much."""
_LONGEST_PATH: Final = 500
"""Characters."""
_NEVER: Final = 1000
"""A status above all others."""
_LOGGER: Final = "app.core.http.middleware.request_log"
"""The logger that JSON lines name; operators filter by it."""
ToLine = Callable[[str, str], str]
"""From the request's id and the message to a line."""


class RequestNotes:
    """Gives every request an id, counts its response, and writes one line about it.

    A record of the logging library would cost half as much as a cached answer, so the lines are made here. They look
    like all others, are written in batches, and always before any later line.
    """

    def __init__(self, settings: Settings, lines: LogLines, counts: Counts) -> None:
        self._lines = lines
        self._counts = counts
        self._secrets = [secret.encode() for secret in settings.secrets]
        never = settings.log_level in ("WARNING", "ERROR")
        self._least_status = _NEVER if never else {"all": 0, "errors": 400, "off": _NEVER}[settings.log_requests]
        self._to_line: ToLine = _json_line
        if settings.log_format == "console":
            self._to_line = partial(_console_line, colour=has_colour(settings, lines))
        # Unique in all processes together, and cheaper than a random id for each request.
        self._process = secrets.token_hex(4).encode()
        self._numbers = count()

    def choose_id(self, given: bytes | None) -> bytes:
        """The client's ``X-Request-ID`` if it is harmless, otherwise a new one."""
        if given is None or not _REQUEST_ID.fullmatch(given) or self._is_secret(given):
            return b"%b%08x" % (self._process, next(self._numbers))
        return given

    def note(self, method: str, route: str, status: int, request_id: bytes, summary: str, started: float) -> None:
        """Count a response and write its line.

        Args:
            method: As sent by the client.
            route: The path template of the route, or ``other``.
            status: Of the response.
            request_id: From ``choose_id()``.
            summary: From ``summarize()``.
            started: ``time.perf_counter()`` at the start of the request.
        """
        seconds = time.perf_counter() - started
        self._counts.note_request(method if method in METHODS else OTHER, route, status, seconds)
        if status >= self._least_status:
            line = self._to_line(request_id.decode(), f"{summary} [{seconds:.4f}s]")
            if self._lines.gather(line):
                asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._lines.flush)

    def _is_secret(self, given: bytes) -> bool:
        return any(hmac.compare_digest(given, secret) for secret in self._secrets)


def summarize(method: str, path: str, status: int) -> str:
    """Method, path and status for the log line."""
    if len(path) > _LONGEST_PATH:
        path = f"{path[:_LONGEST_PATH]}..."
    return f"{method} {path} -> {status}"


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
    head = f'{{"time": "{stamp}", "level": "INFO", "logger": "{_LOGGER}", '
    return f'{head}"message": {text}, "request_id": "{request_id}"}}'
