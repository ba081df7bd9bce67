"""What a client has sent and nobody has parsed yet, cut where requests end."""

import math
import re
from typing import Final

MOST_BYTES: Final = 65_536
"""Of request line and header fields together, and of a body's framing with its trailers."""
_BLANK_LINE: Final = re.compile(rb"[^\r\n]\r\n\r\n")
"""What a head and a chunked body end with."""
_LINE_ENDS: Final = re.compile(rb"(?:\r\n)*")
_BEFORE: Final = 4
"""Bytes that were taken before, in which a blank line may have begun."""


class Pieces:
    """Received bytes, taken in pieces that end no later than the current request does."""

    def __init__(self) -> None:
        self._received = b""
        """What was not taken yet, from ``_at`` on, and the last bytes before."""
        self._at = 0
        self.overhead = 0
        """Bytes taken of the head, or of the body since the last of its content."""
        self.body_left = math.inf
        """Bytes of the body that were not taken yet; infinite in a head, and where its length is not known."""

    def __len__(self) -> int:
        return len(self._received) - self._at

    def add(self, data: bytes) -> None:
        """Add what has just arrived."""
        start = max(0, self._at - _BEFORE)
        self._received, self._at = self._received[start:] + data, self._at - start

    def skip_line_ends(self) -> None:
        """Skip line ends, which may come before a request and mean nothing (RFC 9112, 2.2)."""
        self._at = _LINE_ENDS.match(self._received, self._at).end()  # type: ignore[union-attr]  # or nothing

    def take(self) -> bytes:
        """Take the next piece, and count it as overhead; the rest of a head or a chunked body has ``MOST_BYTES``."""
        start = self._at
        if self.body_left < math.inf:
            self._at = min(len(self._received), start + int(self.body_left))
            self.body_left -= self._at - start
        else:
            end = min(len(self._received), start + MOST_BYTES - self.overhead)
            # Most pieces of bodies have none, which find() tells in a hundredth of the time.
            line = self._received.find(b"\r\n\r\n", max(0, start - _BEFORE), end)
            found = _BLANK_LINE.search(self._received, max(0, start - _BEFORE, line - 1), end) if line >= 0 else None
            self._at = found.end() if found else end
        self.overhead += self._at - start
        return self._received[start : self._at]

    def discard(self) -> None:
        """Drop what was not taken."""
        self._received, self._at = b"", 0
