"""Logging: loguru for everything, one format, and one line for each request."""

import inspect
import json
import logging
import re
import secrets
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final, Literal, TextIO
from urllib.parse import quote, quote_plus

from loguru import logger
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.config import Settings

if TYPE_CHECKING:
    import loguru

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SHORTEST_SECRET: Final = 4
"""Hiding shorter ones would blot out every line, and they are no secrets."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Their own lines would show request URLs and headers, and with them the keys of sources.
_QUIET: Final = ("httpx", "httpcore", "aiosqlite", "asyncio", "PIL", "alembic.runtime.plugins")


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send every log line of the process, whoever writes it, to one sink.

    Args:
        settings: Level, format, and the secrets that no line may show.
        stream: Where the lines go; standard error by default.
    """
    to_line = _json_line if settings.log_format == "json" else _console_line
    colour = settings.log_format == "console" and (stream or sys.stderr).isatty()
    spellings = _spellings(settings.secrets)

    def hide(text: str) -> str:
        for secret in spellings:
            text = text.replace(secret, "********")
        return text

    def write(message: "loguru.Message") -> None:
        # Looked up at each line: a progress display on the terminal puts its own stream there.
        target = stream or sys.stderr
        target.write(to_line(message.record, hide, colour=colour) + "\n")
        target.flush()

    logger.remove()
    logger.add(write, level=settings.log_level, format="{message}", backtrace=False, diagnose=False)
    logging.root.handlers = [_ToLoguru()]
    logging.root.setLevel(settings.log_level)
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Each retry is a warning to stamina; what matters is the outcome, and that is logged where it is known.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    # We write a line for each request ourselves.
    logging.getLogger("uvicorn.access").disabled = True


def _spellings(secrets: Iterable[str]) -> list[str]:
    """The forms in which secrets turn up in messages: in URLs, in JSON, as Python shows them; the longest first."""
    found: set[str] = set()
    for secret in secrets:
        if len(secret) < _SHORTEST_SECRET:
            continue
        in_urls = {quote(secret, safe=""), quote(secret, safe=" +"), quote_plus(secret)}
        in_urls |= {re.sub("%..", lambda code: code.group().lower(), text) for text in in_urls}
        in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        found |= {secret, repr(secret)[1:-1], repr(secret.encode())[2:-1], *in_urls, *in_json}
    return sorted(found, key=len, reverse=True)


class _ToLoguru(logging.Handler):
    """Hands records of the standard library's logging over to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelname if record.levelname in logging.getLevelNamesMapping() else record.levelno
        frame, depth = inspect.currentframe(), 0
        while frame and (depth == 0 or frame.f_code.co_filename == logging.__file__):
            frame, depth = frame.f_back, depth + 1
        logger.opt(depth=depth, exception=record.exc_info).log(level, "{}", record.getMessage())


def one_line(text: str) -> str:
    """Escape control characters, so that text from outside can't forge a log line."""
    return _CONTROL.sub(lambda match: repr(match.group())[1:-1], text)


_COLOURS: Final = {"DEBUG": "\x1b[36m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}


def _console_line(record: "loguru.Record", hide: Callable[[str], str], *, colour: bool) -> str:
    level = record["level"].name
    request_id = record["extra"].get("request_id", "-")
    stamp = f"{record['time']:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    head = f"{stamp} | {level:<8}| {request_id} | "
    if colour:
        head = f"\x1b[2m{stamp}\x1b[0m | {_COLOURS.get(level, '')}{level:<8}\x1b[0m| \x1b[2m{request_id}\x1b[0m | "
    trace = "".join(f"\n    | {one_line(line)}" for line in hide(_trace(record)).splitlines())
    return head + one_line(hide(record["message"])) + trace


def _json_line(record: "loguru.Record", hide: Callable[[str], str], *, colour: bool) -> str:
    fields: dict[str, object] = {
        "time": record["time"].astimezone().isoformat(),
        "level": record["level"].name,
        "logger": record["name"],
        "message": hide(record["message"]),
        **record["extra"],
    }
    if record["exception"]:
        fields["exception"] = hide(_trace(record))
    line = json.dumps(fields, ensure_ascii=False, default=str)
    # JSON lets pass what some readers take for the end of a line, and terminals for a command.
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", line)


def _trace(record: "loguru.Record") -> str:
    if (exception := record["exception"]) is None:
        return ""
    return "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))


class RequestLog:
    """ASGI layer: gives every request an id and writes one line about it.

    ``X-Request-ID`` is taken over from the client where it is harmless, made
    otherwise, and always sent back.
    """

    def __init__(self, app: ASGIApp, *, requests: Literal["all", "errors", "off"]) -> None:
        self.app = app
        self.requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        status = 500
        started = time.perf_counter()

        async def add_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        with logger.contextualize(request_id=request_id):
            try:
                await self.app(scope, receive, add_id)
            finally:
                if self.requests == "all" or (self.requests == "errors" and status >= 400):
                    seconds = time.perf_counter() - started
                    logger.info("{} {} -> {} [{:.4f}s]", scope["method"], scope["path"], status, seconds)


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value.decode("latin-1")):
            return str(value.decode("latin-1"))
    return secrets.token_hex(8)
