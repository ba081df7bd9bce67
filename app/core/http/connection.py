"""One connection: what a client may hold it with is bounded, and answers that are ready are sent before ASGI begins."""

import math
import time
from asyncio import BaseTransport
from enum import Enum
from typing import Any, Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core.errors import AppError, ValidationFailed
from app.core.http.cache.ready import ReadyAnswers
from app.core.http.deadline import Deadline
from app.core.http.descriptors import most_connections
from app.core.http.errors import error_response, http_error
from app.core.http.pieces import MOST_BYTES, Pieces
from app.core.http.request_notes import RequestNotes, summarize
from app.core.http.security_headers import ALWAYS
from app.core.telemetry.counts import OTHER

MOST_FIELDS: Final = 200
"""Header fields; each costs a microsecond in every layer that looks at them."""
HEAD_SECONDS: Final = 10.0
"""For a whole head."""
REST_SECONDS: Final = 30.0
"""For the rest of a body whose request was already answered: many clients read only after they have sent all."""
WRITE_SECONDS: Final = 60.0
"""For a client to take some of what is waiting for it."""
_LINGER_SECONDS: Final = 2.0
_PIECES_AT_ONCE: Final = 32
"""Heads and pieces of bodies that are parsed in a row; then other connections have their turn."""
_WARN_AGAIN_SECONDS: Final = 60.0


class _Stage(Enum):
    HEAD = "The next bytes belong to a head."
    BODY = "The next bytes belong to the body of the current request."
    ANSWERED = "The request was answered before ASGI, and the parser has yet to say that it is complete."
    ANSWER = "The request is complete and its answer is not, so nothing more is parsed."
    REFUSED = "Nothing is parsed any more."


_PARSED: Final = (_Stage.HEAD, _Stage.BODY)


class _Flow(FlowControl):
    """uvicorn's flow control, which reads no more while what was read before waits to be parsed."""

    is_held = False

    def resume_reading(self) -> None:
        if not self.is_held:
            super().resume_reading()


class _Unwanted(Exception):
    """Ends the parser's work on a connection."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol of a connection, with bounds on bytes and time, and with answers that are ready.

    One request is parsed at a time: a client that sends many at once waits in its socket, and an answer is never mixed
    with the next one. Trailer fields are counted and dropped, because uvicorn takes them for header fields. A client
    gets a limited time for each head, and for taking what it was sent; how long the application waits for a body is
    bounded there (``BodyLimit``).

    For ``uvicorn --http app.core.http.connection:Connection``, and used by ``python -m app serve``.
    """

    flow: _Flow
    _warned_at = -math.inf
    """When any connection last warned that descriptors run out."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Without a lifespan there is nothing of ours.
        self._notes: RequestNotes | None = self.app_state.get("notes")
        # Below a prefix, the layers see another path than the request line has.
        self._ready: ReadyAnswers | None = None if self.root_path else self.app_state.get("ready")
        self._stage = _Stage.HEAD
        self._pieces = Pieces()
        self._started = 0.0
        """When the head of the current request began, on the performance counter."""
        self._whole_head = b""
        """The current head, if it arrived in one piece."""
        self._problem: AppError | None = None
        """Why the parser was ended; None if it ended itself."""
        self._deadline = Deadline(self.loop, self._give_up)
        self._body_since = 0.0
        self._unsent = 0
        """Bytes that waited for the client when it was last given time to take some."""

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.flow = _Flow(transport)  # type: ignore[arg-type]
        self._deadline.allow(HEAD_SECONDS)
        if len(self.connections) > most_connections():
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn closes, whatever waits to be sent
        """Called when the client sends no more; keeps the connection open for its answer."""
        is_answering = self._stage is _Stage.ANSWER
        if is_answering:
            self.cycle.keep_alive = False
        return is_answering

    def data_received(self, data: bytes) -> None:
        is_between = self._stage is _Stage.HEAD and not self._pieces.overhead
        if is_between and self._ready is not None and not self._pieces:
            answer = None if self.flow.write_paused else self._ready.answer_repeated(data, self._server_headers)
            if answer is not None:
                self._send(answer)
                return
        if self._stage is not _Stage.REFUSED:
            self._pieces.add(data)
            if is_between:
                self._pieces.skip_line_ends()
            self._advance()

    def _advance(self) -> None:
        """Parse what was received, up to the end of a request, and read on when nothing is left."""
        left = _PIECES_AT_ONCE
        while left and self._pieces and self._stage in _PARSED and not self.transport.is_closing():
            self._parse_piece()
            left -= 1
        if self.transport.is_closing():
            return
        self.flow.is_held = bool(self._pieces)
        if self.flow.is_held:
            self.flow.pause_reading()
            if not left:
                self.loop.call_soon(self._advance)
        elif self._stage is not _Stage.BODY or len(self.cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    def _parse_piece(self) -> None:
        is_start = self._stage is _Stage.HEAD and not self._pieces.overhead
        if is_start:
            self._started = time.perf_counter()
        piece = self._pieces.take()
        self._whole_head = piece if is_start else b""
        super().data_received(piece)
        if self._stage not in _PARSED:
            return
        if self._pieces.overhead >= MOST_BYTES:
            self.logger.warning("Refused a request with more than %d bytes of header fields or trailers", MOST_BYTES)
            details = f"Request line and header fields, or trailers, may have at most {MOST_BYTES} bytes together"
            self._refuse(http_error(431, details))
        elif is_start and self._stage is _Stage.HEAD and self._pieces.overhead:
            self._deadline.allow(HEAD_SECONDS)

    def on_message_begin(self) -> None:
        """Called by the parser; uvicorn would make the scope here, which an answer that is ready does not need."""
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by the parser for each header field, and each trailer field."""
        if self._stage is not _Stage.HEAD:
            return
        if len(self.headers) >= MOST_FIELDS:
            self._problem = http_error(431, f"A request may have at most {MOST_FIELDS} header fields")
            raise _Unwanted
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by the parser; answers at once, or hands over to uvicorn."""
        self._stage, self._pieces.overhead = _Stage.BODY, 0
        if self._ready is not None and self._may_be_ready():
            answer = self._ready.answer_parsed(self.url, self.headers, self._whole_head, self._server_headers)
            if answer is not None:
                self._stage = _Stage.ANSWERED
                self._send(answer)
                return
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            raise _Unwanted
        lengths = [value for name, value in self.headers if name == b"content-length"]
        self._pieces.body_left = int(lengths[0]) if lengths else math.inf
        is_upgrade = self.parser.should_upgrade()
        if is_upgrade and (self._pieces.body_left not in (0, math.inf) or b"transfer-encoding" in dict(self.headers)):
            # The parser takes the body for bytes of the other protocol, and we would take it for the next request.
            self._problem = ValidationFailed({"Upgrade": "can't be sent with a body"})
            raise _Unwanted
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers.extend(headers)  # the list that is in the scope
        super().on_headers_complete()
        if is_upgrade:
            self.cycle.keep_alive = False
        self._body_since = self.loop.time()
        if not self.flow.write_paused:
            self._deadline.lift()

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
        """Called by the parser with content of the body."""
        self._pieces.overhead = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Called by the parser at the end of the request."""
        self._pieces.overhead, self._pieces.body_left = 0, math.inf
        if self._stage is _Stage.ANSWERED:
            self._stage = _Stage.HEAD
            return
        super().on_message_complete()
        self._stage = _Stage.HEAD if self.cycle.response_complete else _Stage.ANSWER
        if self._stage is _Stage.HEAD:
            self._deadline.allow(self.timeout_keep_alive)

    @property
    def _server_headers(self) -> list[tuple[bytes, bytes]]:
        """What uvicorn adds to each response; another list each second."""
        return self.server_state.default_headers

    def _send(self, answer: list[bytes]) -> None:
        self.transport.writelines(answer)
        self.server_state.total_requests += 1
        if not self.flow.write_paused:
            self._deadline.allow(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """Called by uvicorn when ASGI has sent an answer; reads on, in the place of uvicorn's own timer and queue."""
        self.server_state.total_requests += 1
        self.cycle.body = bytearray()  # what the application did not read, and nobody will
        if self.transport.is_closing():
            self._deadline.allow(WRITE_SECONDS)
            return
        if self._stage is _Stage.ANSWER:
            self._stage = _Stage.HEAD
        self._deadline.allow(self._patience())
        self.flow.resume_reading()
        if self.flow.is_held:
            self.loop.call_soon(self._advance)

    def _unsupported_upgrade_warning(self) -> None:
        """Called by uvicorn for ``Upgrade``; says nothing, because a server may ignore it, and strangers send it."""

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn when the parser has ended; answers in our one shape of errors."""
        self._refuse(self._problem or ValidationFailed({"request": "is not valid HTTP"}))

    def _refuse(self, error: AppError) -> None:
        """Answer invalid or unwanted bytes with an error, and close."""
        self._stage = _Stage.REFUSED
        self._pieces.discard()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started:
                self.transport.abort()  # an answer is being sent, and this one must not be mixed into it
                return
            # The application learns that the client has left.
            cycle.disconnected = True
            cycle.message_event.set()
        response = error_response(error)
        fields = [*self._server_headers, *response.raw_headers, *ALWAYS, (b"connection", b"close")]
        if self._notes is not None:
            request_id, summary = self._notes.choose_id(None), summarize("Invalid", "request", response.status_code)
            fields.append((b"x-request-id", request_id))
            self._notes.note(OTHER, OTHER, response.status_code, request_id, summary, self._started)
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[response.status_code], lines, bytes(response.body)))
        # A client that is still sending would lose the answer if the connection were closed at once, so only our
        # direction is closed.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._deadline.allow(_LINGER_SECONDS)

    def pause_writing(self) -> None:
        """Called by the transport when much waits for the client."""
        super().pause_writing()
        self._unsent = self.transport.get_write_buffer_size()
        self._deadline.allow(WRITE_SECONDS)

    def resume_writing(self) -> None:
        """Called by the transport when the client has taken nearly all."""
        super().resume_writing()
        if self._stage is not _Stage.REFUSED and not self.transport.is_closing():
            self._deadline.allow(self._patience())

    def _patience(self) -> float:
        """Seconds that the client has for what it must do next; infinite while it waits for us."""
        if self.cycle is not None and not self.cycle.response_complete:
            return math.inf
        if self._stage is _Stage.BODY:
            return REST_SECONDS
        return HEAD_SECONDS if self._pieces.overhead else self.timeout_keep_alive

    def _give_up(self) -> None:
        """Close the connection: the client has done nothing in its time."""
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent or (unsent and not self._unsent):
            self._unsent = unsent  # it takes its answer, if slowly
            self._deadline.allow(WRITE_SECONDS)
        elif self._stage is _Stage.HEAD and self._pieces.overhead and not unsent:
            self._refuse(http_error(408, f"The head of the request did not arrive within {HEAD_SECONDS:g} seconds"))
        elif self.transport.is_closing() or unsent:
            self.transport.abort()
        else:
            self.transport.close()

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
        waiting = (other for other in others if other._waits_until() < math.inf)
        min(waiting, key=Connection._waits_until, default=self).transport.abort()

    def _waits_until(self) -> float:
        """When the service stops waiting for this client; infinite while the client waits for the service."""
        is_sending = self._stage is _Stage.BODY and self._deadline.at == math.inf
        return self._body_since + HEAD_SECONDS if is_sending else self._deadline.at
