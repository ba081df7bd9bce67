"""Logging: everything goes through loguru, in one format, to one stream."""

import asyncio
import inspect
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TextIO
from urllib.parse import quote, quote_plus

from loguru import logger
from opentelemetry import trace

from app.core.config.settings import Settings

if TYPE_CHECKING:
    import loguru

REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("request_id", default=None)
"""Id of the current request; None outside of requests."""
_PACKET: Final = 4096
"""Bytes that a pipe writes atomically."""
_SHORTEST_SECRET: Final = 4
"""Characters; hiding shorter strings would garble every line."""
_TOKEN_OR_KEY: Final = re.compile(r"(?:token|key)_[A-Za-z0-9_-]{43}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# At INFO and below, they log request URLs and headers, which contain the API keys of sources.
_QUIET: Final = ("httpx", "httpcore", "aiosqlite", "asyncio", "PIL", "alembic.runtime.plugins")


class LogLines:
    """Writes lines to the log, at once or gathered, but always in order."""

    def __init__(self, stream: TextIO | None, hide: Callable[[str], str]) -> None:
        self._stream = stream
        self.hide = hide
        """Replaces the secrets in a string."""
        self._gathered: list[str] = []
        self._lock = threading.RLock()  # reentrant, because a finalizer may log

    @property
    def target(self) -> TextIO:
        """Looked up on each use, because a progress bar replaces ``sys.stderr``."""
        return self._stream or sys.stderr

    def write(self, line: str) -> None:
        """Write the gathered lines, then this one, whose secrets are already hidden."""
        self.flush(f"{line}\n")

    def gather(self, line: str) -> bool:
        """Keep a line until ``flush()``; True if it is the first."""
        self._gathered.append(f"{line}\n")
        return len(self._gathered) == 1

    def flush(self, then: str = "") -> None:
        """Write the gathered lines with their secrets hidden, then ``then``."""
        with self._lock:
            gathered = self._gathered[:]
            del self._gathered[: len(gathered)]  # not clear(), because other threads may have added lines
            for packet in _packets(gathered):
                self._put(self.hide(packet))
            if then:
                self._put(then)

    def _put(self, text: str) -> None:
        self.target.write(text)
        self.target.flush()


def _packets(lines: Iterable[str]) -> Iterator[str]:
    """Join lines up to the size that a pipe writes atomically, so that processes do not mix theirs."""
    packet: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode(errors="replace"))
        if size + length > _PACKET and packet:
            yield "".join(packet)
            packet, size = [], 0
        packet.append(line)
        size += length
    if packet:
        yield "".join(packet)


def configure_logging(settings: Settings, stream: TextIO | None = None) -> LogLines:
    """Send all log lines of the process, including those of libraries, to ``stream``; standard error by default.

    Returns:
        The sink, for lines that are formatted elsewhere, such as the request log.
    """
    to_line = _json_line if settings.log_format == "json" else _console_line
    hide = hiding(settings.secrets)
    lines = LogLines(stream, hide)
    colour = has_colour(settings, lines)

    def write(message: "loguru.Message") -> None:
        lines.write(to_line(message.record, hide, colour=colour))

    logger.remove()
    logger.add(write, level=settings.log_level, format="{message}", backtrace=False, diagnose=False)
    logging.root.handlers = [_ToLoguru()]
    logging.root.setLevel(settings.log_level)
    for name in list(logging.root.manager.loggerDict):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("alembic.runtime.migration").addFilter(_is_upgrade)
    # stamina warns at each retry; the outcome is logged by the caller.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.access").disabled = True  # replaced by our request log
    return lines


def _is_upgrade(record: logging.LogRecord) -> bool:
    """Whether Alembic reports a step of the migration, or a problem; its other lines only describe its settings."""
    return record.levelno > logging.INFO or record.getMessage().startswith("Running ")


def has_colour(settings: Settings, lines: LogLines) -> bool:
    """Whether console lines go to a terminal."""
    return settings.log_format == "console" and lines.target.isatty()


def hiding(secrets: Iterable[str]) -> Callable[[str], str]:
    """Create a function that hides these secrets, however they are encoded, and all tokens and API keys of clients.

    Secrets shorter than four characters are not hidden.
    """
    found: set[str] = set()
    for secret in secrets:
        if len(secret) < _SHORTEST_SECRET:
            continue
        in_urls = {quote(secret, safe=""), quote(secret, safe=" +"), quote_plus(secret)}
        in_urls |= {re.sub("%..", lambda code: code.group().lower(), text) for text in in_urls}
        in_json = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        found |= {secret, repr(secret)[1:-1], repr(secret.encode())[2:-1], *in_urls, *in_json}
    longest_first = sorted(found, key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in longest_first:
            text = text.replace(secret, "********")
        # Clients put them into paths by mistake. Checked first, because the pattern costs a microsecond per line.
        return _TOKEN_OR_KEY.sub("********", text) if "token_" in text or "key_" in text else text

    return hide


class _ToLoguru(logging.Handler):
    """Forwards records of the standard library's logging to loguru."""

    def emit(self, record: logging.LogRecord) -> None:
        level: str | int = record.levelname if record.levelname in logging.getLevelNamesMapping() else record.levelno
        frame, depth = inspect.currentframe(), 0
        while frame and (depth == 0 or frame.f_code.co_filename == logging.__file__):
            frame, depth = frame.f_back, depth + 1
        # A shutdown cancels requests; their tracebacks would say nothing.
        if record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError):
            logger.opt(depth=depth).warning("{}: cancelled", record.getMessage().strip())
            return
        logger.opt(depth=depth, exception=record.exc_info).log(level, "{}", record.getMessage())


def one_line(text: str) -> str:
    """Escape control characters, so that external text cannot forge a log line."""
    return _CONTROL.sub(lambda match: repr(match.group())[1:-1], text)


_COLOURS: Final = {"DEBUG": "\x1b[36m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}


def _console_line(record: "loguru.Record", hide: Callable[[str], str], *, colour: bool) -> str:
    level = record["level"].name
    stamp = f"{record['time']:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    head = console_head(stamp, level, hide(REQUEST_ID.get() or "-"), colour=colour)
    trace = "".join(f"\n    | {one_line(line)}" for line in hide(_trace(record)).splitlines())
    return head + one_line(hide(record["message"])) + trace


def console_head(stamp: str, level: str, request_id: str, *, colour: bool) -> str:
    """Time, level and request id: the part of a console line before the message."""
    if colour:
        return f"\x1b[2m{stamp}\x1b[0m | {_COLOURS.get(level, '')}{level:<8}\x1b[0m| \x1b[2m{request_id}\x1b[0m | "
    return f"{stamp} | {level:<8}| {request_id} | "


def _json_line(record: "loguru.Record", hide: Callable[[str], str], *, colour: bool) -> str:
    fields: dict[str, object] = {
        "time": record["time"].astimezone().isoformat(),
        "level": record["level"].name,
        "logger": record["name"],
        "message": hide(record["message"]),
        **record["extra"],
    }
    if request_id := REQUEST_ID.get():
        fields["request_id"] = hide(request_id)
    if trace_id := trace.get_current_span().get_span_context().trace_id:
        fields["trace_id"] = f"{trace_id:032x}"
    if record["exception"]:
        fields["exception"] = hide(_trace(record))
    return to_json(fields)


def to_json(value: object) -> str:
    """Encode as one line of JSON; escape control characters, which some readers take for line ends."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", line)


def _trace(record: "loguru.Record") -> str:
    if (exception := record["exception"]) is None:
        return ""
    return "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))
