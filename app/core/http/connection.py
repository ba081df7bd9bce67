"""One connection: what a client may hold it with is bounded, and answers that are ready are sent before ASGI begins."""

import math
import sys
import time
from asyncio import BaseTransport, TimerHandle
from contextlib import suppress
from enum import Enum
from typing import Any, Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core.errors import AppError, ValidationFailed
from app.core.http.cache.ready import ReadyAnswers
from app.core.http.errors import error_response, http_error
from app.core.http.request_notes import RequestNotes, summarize
from app.core.http.security_headers import ALWAYS
from app.core.telemetry.counts import OTHER

if sys.platform != "win32":
    import resource

MOST_BYTES: Final = 65_536
"""Of request line and header fields together, and of a body's framing with its trailers."""
HEAD_SECONDS: Final = 10.0
"""For a whole head, and for the rest of a body whose request was already answered."""
WRITE_SECONDS: Final = 60.0
"""For a client to take some of what is waiting for it."""
_LINGER_SECONDS: Final = 2.0
_PIECES_AT_ONCE: Final = 32
"""Heads and pieces of bodies that are parsed in a row; then other connections have their turn."""
_RESERVED_FILES: Final = 100
"""File descriptors that connections leave to the database, the sources, and the service itself."""
_BLANK_LINE: Final = b"\r\n\r\n"
_WARN_AGAIN_SECONDS: Final = 60.0


class _Stage(Enum):
    HEAD = "The next bytes belong to a head."
    BODY = "The next bytes belong to the body of the current request."
    ANSWER = "The request is complete and its answer is not, so nothing more is parsed."
    REFUSED = "Nothing is read any more."


_PARSED: Final = (_Stage.HEAD, _Stage.BODY)


class _Flow(FlowControl):
    """uvicorn's flow control, which reads no more while what was read before waits to be parsed."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class Connection(HttpToolsProtocol):
    """uvicorn's protocol of a connection, with bounds on bytes and time, and with answers that are ready.

    One request is parsed at a time: a client that sends many at once waits in its socket, and an answer is never mixed
    with the next one. Trailer fields are counted and dropped, because uvicorn takes them for header fields. A client
    gets a limited time for each head, and for taking what it was sent; no timer is set or cancelled per request, but
    one per connection looks how much time is left.

    For ``uvicorn --http app.core.http.connection:Connection``, and used by ``python -m app serve``.
    """

    _warned_at = -math.inf
    """When any connection last warned that descriptors run out."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._notes: RequestNotes = self.app_state["notes"]
        # Below a prefix, the layers see another path than the request line has.
        self._ready: ReadyAnswers | None = None if self.root_path else self.app_state["ready"]
        self._stage = _Stage.HEAD
        self._unread = b""
        """Received, but not parsed yet."""
        self._tail = b""
        """The last bytes parsed of an unfinished head or body, in which a blank line may have begun."""
        self._overhead = 0
        """Bytes parsed of the head, or of the body since the last of its content."""
        self._body_left = math.inf
        """Bytes of the body that are not parsed yet, where its length is known."""
        self._whole_head = b""
        """The current head, if it arrived in one piece."""
        self._is_answered = False
        """Whether the current request was answered before ASGI."""
        self._timer: TimerHandle | None = None
        self._timer_at = math.inf
        self._due = math.inf
        """When the client must have sent or taken something; infinite while it waits for us."""

    # ---- Bytes

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.flow = self._flow = _Flow(transport)  # type: ignore[arg-type]
        self._allow(HEAD_SECONDS)
        if len(self.connections) > _most_connections():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._stage is _Stage.HEAD and self._ready is not None and not self._overhead and not self._unread:
            answer = None if self.flow.write_paused else self._ready.again(data, self.server_state.default_headers)
            if answer is not None:
                self._send(answer)
                return
        if self._stage is not _Stage.REFUSED:
            self._unread = self._unread + data if self._unread else data
            self._advance()

    def _advance(self) -> None:
        """Parse what was received, up to the end of a request, and read on when nothing is left."""
        left = _PIECES_AT_ONCE
        while self._unread and left and self._stage in _PARSED and not self.transport.is_closing():
            self._parse(self._next_piece())
            left -= 1
        if self.transport.is_closing():
            return
        self._flow.is_held = bool(self._unread)
        if self._unread:
            self.flow.pause_reading()
            if not left:
                self.loop.call_soon(self._advance)
        elif self._stage is not _Stage.BODY or len(self.cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    def _next_piece(self) -> bytes:
        """Take bytes that end no later than the request does: heads and chunked bodies end with a blank line."""
        unread = self._unread
        if self._stage is _Stage.BODY and self._body_left < math.inf:
            end = min(len(unread), int(self._body_left))
            self._body_left -= end
        else:
            found = (self._tail + unread).find(_BLANK_LINE)
            end = len(unread) if found < 0 else found + len(_BLANK_LINE) - len(self._tail)
            end = min(end, MOST_BYTES - self._overhead)
        piece, self._unread = unread[:end], unread[end:]
        return piece

    def _parse(self, piece: bytes) -> None:
        is_start = self._stage is _Stage.HEAD and not self._overhead
        self._whole_head = piece if is_start else b""
        self._overhead += len(piece)
        tail = (self._tail + piece)[1 - len(_BLANK_LINE) :]
        super().data_received(piece)
        is_unfinished = self._stage is _Stage.BODY or (self._stage is _Stage.HEAD and self._overhead > 0)
        self._tail = tail if is_unfinished else b""
        if not is_unfinished:
            return
        if self._overhead >= MOST_BYTES:
            self.logger.warning("Refused a request with more than %d bytes of header fields or trailers", MOST_BYTES)
            details = f"Request line and header fields, or trailers, may have at most {MOST_BYTES} bytes together"
            self._refuse(http_error(431, details))
        elif is_start:
            self._allow(HEAD_SECONDS)

    # ---- Calls of the parser

    def on_message_begin(self) -> None:
        # The scope is made where uvicorn needs one.
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._stage is _Stage.HEAD:  # otherwise it is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._stage, self._overhead = _Stage.BODY, 0
        if self._ready is not None and self._may_be_ready():
            server_headers = self.server_state.default_headers
            answer = self._ready.find(self.url, self.headers, self._whole_head, server_headers)
            if answer is not None:
                self._is_answered = True
                self._send(answer)
                return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # the list that is in the scope
        lengths = [value for name, value in headers if name == b"content-length"]
        self._body_left = int(lengths[0]) if lengths else math.inf
        super().on_headers_complete()
        if not self.flow.write_paused:
            self._due = math.inf

    def _may_be_ready(self) -> bool:
        """Whether an answer may be sent now, and keeps the connection open."""
        parser, cycle = self.parser, self.cycle
        return (
            parser.get_method() == b"GET"
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
            and (cycle is None or cycle.response_complete)
            and not self.flow.write_paused
        )

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._overhead = 0
        if self._is_answered:
            self._is_answered, self._stage = False, _Stage.HEAD
            return
        super().on_message_complete()
        self._stage = _Stage.HEAD if self.cycle.response_complete else _Stage.ANSWER
        if self._stage is _Stage.HEAD:
            self._allow(self.timeout_keep_alive)

    # ---- Answers

    def _send(self, answer: list[bytes]) -> None:
        self.transport.writelines(answer)
        self.server_state.total_requests += 1
        if not self.flow.write_paused:
            # The timer that was set for the first head fires earlier, and looks again.
            self._due = self.loop.time() + self.timeout_keep_alive

    def on_response_complete(self) -> None:
        """Called by uvicorn when ASGI has sent an answer; reads on, in the place of uvicorn's own timer and queue."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._allow(WRITE_SECONDS)
            return
        self.flow.resume_reading()
        if self._stage is not _Stage.ANSWER:
            self._allow(HEAD_SECONDS)  # for the rest of the body, which nobody wants
            return
        self._stage = _Stage.HEAD
        self._allow(self.timeout_keep_alive)
        if self._unread:
            self.loop.call_soon(self._advance)

    def _unsupported_upgrade_warning(self) -> None:
        """Called by uvicorn for ``Upgrade``; says nothing, because a server may ignore it, and strangers send it."""

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is not HTTP; answers in our one shape of errors."""
        self._refuse(ValidationFailed({"request": "is not valid HTTP"}))

    def _refuse(self, error: AppError) -> None:
        """Answer what can't be a request, or not any more, and close."""
        self._stage, self._unread = _Stage.REFUSED, b""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self.transport.abort()  # an earlier answer is being sent, and this one must not be mixed into it
                return
            # The application learns that the client has left.
            cycle.disconnected = True
            cycle.message_event.set()
        response, request_id = error_response(error), self._notes.choose_id(None)
        status = response.status_code
        fields = [*response.raw_headers, *ALWAYS, (b"x-request-id", request_id), (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % field for field in (*self.server_state.default_headers, *fields))
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, bytes(response.body)))
        self._notes.note(OTHER, OTHER, status, request_id, summarize("Invalid", "request", status), time.perf_counter())
        # A client that is still sending would lose the answer if the connection were closed at once, so only our
        # direction is closed.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._allow(_LINGER_SECONDS)

    # ---- Time

    def pause_writing(self) -> None:
        super().pause_writing()
        self._allow(WRITE_SECONDS)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stage is not _Stage.REFUSED and not self.transport.is_closing():
            is_waiting = self.cycle is None or self.cycle.response_complete
            self._allow(self.timeout_keep_alive if is_waiting else math.inf)

    def _allow(self, seconds: float) -> None:
        """Give the client this long."""
        self._due = self.loop.time() + seconds
        if self._due < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(self._due, self._look_at_clock)
            self._timer_at = self._due

    def _look_at_clock(self) -> None:
        self._timer, self._timer_at = None, math.inf
        left = self._due - self.loop.time()
        if left > 0:
            if left < math.inf:
                self._allow(left)
        elif self._stage is _Stage.HEAD and self._overhead and not self.flow.write_paused:
            self._refuse(http_error(408, f"The head of the request did not arrive within {HEAD_SECONDS:g} seconds"))
        elif self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    # ---- Descriptors

    def _make_room(self) -> None:
        """Close the connection whose client has the least time left, when descriptors run out."""
        now = self.loop.time()
        if now - Connection._warned_at >= _WARN_AGAIN_SECONDS:
            Connection._warned_at = now
            self.logger.warning(
                "%d connections are open, and file descriptors run out: raise the limit (ulimit -n, LimitNOFILE), or "
                "limit connections in a proxy. Idle connections are closed to make room",
                len(self.connections),
            )
        others = (other for other in self.connections if isinstance(other, Connection) and other is not self)
        idle = (other for other in others if other._due < math.inf)
        min(idle, key=lambda other: other._due, default=self).transport.abort()


def raise_file_limit() -> None:
    """Let this process and its children open as many files, and so connections, as the system allows them."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _most_connections() -> float:
    """How many connections may be open at once."""
    if sys.platform == "win32":
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else max(1, soft - _RESERVED_FILES)
