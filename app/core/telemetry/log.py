"""Logging: loguru for everything, one format, one place where lines go."""

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
"""Id of the request that is being answered; None outside of one."""
_PACKET: Final = 4096
"""Bytes."""
_SHORTEST_SECRET: Final = 4
"""Hiding shorter ones would blot out every line, and they are no secrets."""
_TOKEN_OR_KEY: Final = re.compile(r"(?:token|key)_[A-Za-z0-9_-]{43}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Their own lines would show request URLs and headers, and with them the keys of sources.
_QUIET: Final = ("httpx", "httpcore", "aiosqlite", "asyncio", "PIL", "alembic.runtime.plugins")


class LogLines:
    """Where the lines go: each at once, or many together; always in the order in which they came."""

    def __init__(self, stream: TextIO | None, hide: Callable[[str], str]) -> None:
        self._stream = stream
        self.hide = hide
        """Takes the secrets out of a text."""
        self._gathered: list[str] = []
        self._lock = threading.RLock()  # what is collected as garbage meanwhile may log as well

    @property
    def target(self) -> TextIO:
        """Looked up at each use: a progress display on the terminal puts its own stream there."""
        return self._stream or sys.stderr

    def write(self, line: str) -> None:
        """Write a line in which no secret is left, behind those that wait."""
        self.flush(f"{line}\n")

    def gather(self, line: str) -> bool:
        """Keep a line until ``flush()``; True for the first that waits."""
        self._gathered.append(f"{line}\n")
        return len(self._gathered) == 1

    def flush(self, behind: str = "") -> None:
        """Write what waits, without secrets, and then this text."""
        with self._lock:  # other threads log as well
            waiting = self._gathered[:]
            del self._gathered[: len(waiting)]  # and not what came meanwhile
            for packet in _packets(waiting):
                self._put(self.hide(packet))
            if behind:
                self._put(behind)

    def _put(self, text: str) -> None:
        self.target.write(text)
        self.target.flush()


def _packets(lines: Iterable[str]) -> Iterator[str]:
    """Join lines up to the size that a pipe keeps together, so that two processes can't mix theirs."""
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
    """Send every log line of the process, whoever writes it, to one sink.

    Args:
        settings: Level, format, and the secrets that no line may show.
        stream: Where the lines go; standard error by default.

    Returns:
        The sink, for lines that are formatted elsewhere.
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
    # Each retry is a warning to stamina; what matters is the outcome, and that is logged where it is known.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    # We write a line for each request ourselves.
    logging.getLogger("uvicorn.access").disabled = True
    return lines


def has_colour(settings: Settings, lines: LogLines) -> bool:
    """Whether lines for people go to a terminal."""
    return settings.log_format == "console" and lines.target.isatty()


def hiding(secrets: Iterable[str]) -> Callable[[str], str]:
    """What takes these out of a text, in each of their spellings, and every token and key of a client.

    Args:
        secrets: Those shorter than four characters stay: hiding them would blot out everything.
    """
    spellings = _spellings(secrets)

    def hide(text: str) -> str:
        for secret in spellings:
            text = text.replace(secret, "********")
        # A client's own, in a path by mistake; the pattern alone would cost each line a microsecond.
        return _TOKEN_OR_KEY.sub("********", text) if "token_" in text or "key_" in text else text

    return hide


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
        # A request that a stop cancels is no fault of the code: where it stood tells nobody anything.
        is_cancelled = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
        if is_cancelled:
            logger.opt(depth=depth).warning("{}: cancelled", record.getMessage().strip())
            return
        logger.opt(depth=depth, exception=record.exc_info).log(level, "{}", record.getMessage())


def one_line(text: str) -> str:
    """Escape control characters, so that text from outside can't forge a log line."""
    return _CONTROL.sub(lambda match: repr(match.group())[1:-1], text)


_COLOURS: Final = {"DEBUG": "\x1b[36m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}


def _console_line(record: "loguru.Record", hide: Callable[[str], str], *, colour: bool) -> str:
    level = record["level"].name
    stamp = f"{record['time']:%Y-%m-%d %H:%M:%S.%f}"[:-3]
    head = console_head(stamp, level, hide(REQUEST_ID.get() or "-"), colour=colour)
    trace = "".join(f"\n    | {one_line(line)}" for line in hide(_trace(record)).splitlines())
    return head + one_line(hide(record["message"])) + trace


def console_head(stamp: str, level: str, request_id: str, *, colour: bool) -> str:
    """What stands before the message in a line for people."""
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
    """One line of JSON; what some readers take for the end of a line, and terminals for a command, is escaped."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", line)


def _trace(record: "loguru.Record") -> str:
    if (exception := record["exception"]) is None:
        return ""
    return "".join(traceback.format_exception(exception.type, exception.value, exception.traceback))
