"""A size limit for request heads, which uvicorn's parser does not have."""

from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.core.errors import AppError, ValidationFailed
from app.core.http.errors import error_response, http_error
from app.core.http.security_headers import ALWAYS

MOST_BYTES: Final = 65_536
"""Of request line and header fields together."""
_LINGER_SECONDS: Final = 2


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol of a connection; refuses a large head before the rest of it arrives.

    The parser joins the pieces of a field as they arrive, in time quadratic in its length: a single field of 100 MB
    blocked a process for 20 seconds.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._is_in_head, self._head_bytes, self._is_refused = True, 0, False

    def data_received(self, data: bytes) -> None:
        while self._is_in_head and data and not self._is_refused:
            room = MOST_BYTES - self._head_bytes
            piece, data = data[:room], data[room:]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._is_in_head and self._head_bytes >= MOST_BYTES:
                self.logger.warning("Refused a request with a head of more than %d bytes", MOST_BYTES)
                details = f"Request line and header fields may have at most {MOST_BYTES} bytes together"
                self._refuse(http_error(431, details))
        if data and not self._is_refused:
            super().data_received(data)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        # The head of the next request follows. What has already arrived of it is not counted.
        self._is_in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(ValidationFailed({"request": "is not valid HTTP"}))

    def _refuse(self, error: AppError) -> None:
        self._is_refused = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # an earlier answer is being sent, and this one must not be mixed into it
            return
        response = error_response(error)
        fields = [*response.raw_headers, *ALWAYS, (b"connection", b"close")]
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(b"%b%b\r\n%b" % (STATUS_LINE[response.status_code], lines, bytes(response.body)))
        # A client that is still sending would lose the answer if the connection were closed at once, so only our
        # direction is closed.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
