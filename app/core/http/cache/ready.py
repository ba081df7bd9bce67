"""Answers that are ready to send: found by what a client wrote, before any other work is done for its request."""

import re
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Final, NamedTuple

from starlette.types import Message, Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.core.db.data_version import DataVersion
from app.core.http.access import CREDENTIALS
from app.core.http.cache.store import CachedResponse, Headers
from app.core.http.middleware.host import is_host
from app.core.http.request_notes import RequestNotes, summarize
from app.core.telemetry.counts import Counts

KEPT: Final = "kept"
"""Key in the state of a request: its ``CachedResponse``, which was kept and holds for its spelling."""

HeaderList = list[tuple[bytes, bytes]]
Spelling = tuple[bytes, bytes | None, bytes | None, bytes | None]
"""Target of the request line, ``Accept-Encoding``, ``Accept`` and ``If-None-Match``; None for an absent field."""

_NEVER_READY: Final = CREDENTIALS | {
    *(b"content-length", b"transfer-encoding", b"if-match", b"expect", b"upgrade", b"origin"),
}
"""A request with one of these may get another answer, or a refusal."""
_VARYING: Final = frozenset({b"accept", b"accept-encoding", b"origin"})
"""What ``Vary`` may name in an answer that is kept; a request with ``Origin`` has no spelling."""
_MOST: Final = 1_000
_LONGEST: Final = 2_048
"""Bytes. Clients choose heads and spellings, so the memory for them is bounded."""
_ID_FIELD: Final = re.compile(rb"\r\n(?i:x-request-id): ?([A-Za-z0-9._-]{1,64})(?=\r\n[^ \t])")
"""A line of a head that proxies send with another id each time; the head means the same without it, but for the id."""


class ReadyAnswer(NamedTuple):
    """One answer as it was sent, without ``X-Request-ID``, ``Date`` and what else the server adds."""

    status: int
    headers: Headers
    body: bytes
    head: bytes
    """The header fields as they are sent."""
    route: str
    """For metrics."""
    summary: str
    """For the log line."""
    day: date | None
    """The day in UTC after which it does not count; None if it depends on none."""


class ReadyAnswers:
    """The answers that were last sent to GETs, for one version of the data.

    The outermost layer keeps them, with all that the layers have added, so that nothing here repeats their work. A
    connection finds them without a layer, by the request as parsed or by the bytes of its whole head.
    """

    def __init__(
        self, versions: DataVersion, counts: Counts, notes: RequestNotes, *, clock: Callable[[], datetime]
    ) -> None:
        """``clock`` is the time in UTC."""
        self._versions = versions
        self._clock = clock
        self._counted = counts.cache
        self._notes = notes
        self._version = -1
        self._by_spelling: dict[Spelling, ReadyAnswer] = {}
        self._by_head: dict[bytes, ReadyAnswer] = {}
        self._server_headers: HeaderList = []
        self._server_head = b""

    def clear(self) -> None:
        """Forget all answers."""
        self._by_spelling.clear()
        self._by_head.clear()

    def keep(
        self, spelling: Spelling, scope: Scope, start: Message, body: bytes, *, route: str, kept: CachedResponse
    ) -> None:
        """Keep what was sent to a GET; it must depend on nothing but its spelling, and ``kept``'s version and day."""
        version = kept.version
        size = sum(len(part or b"") for part in spelling)
        if size > _LONGEST or not self._versions.is_known(version) or not _varied_by(start) <= _VARYING:
            return
        if version != self._version or len(self._by_spelling) >= _MOST:
            self.clear()
            self._version = version
        headers, status = start["headers"], start["status"]
        head = b"".join(b"%b: %b\r\n" % field for field in headers)
        summary = summarize("GET", scope["path"], status)
        self._by_spelling[spelling] = ReadyAnswer(status, headers, body, head, route, summary, kept.day)

    def look(self, spelling: Spelling | None) -> ReadyAnswer | None:
        """The answer to a GET; None if there is none for the current data and day."""
        answer = self._by_spelling.get(spelling) if spelling is not None else None
        return answer if answer is not None and self._holds(answer) else None

    def _holds(self, answer: ReadyAnswer) -> bool:
        is_of_today = answer.day is None or answer.day == self._clock().date()
        return is_of_today and self._versions.is_known(self._version)

    def note(self, answer: ReadyAnswer, request_id: bytes, started: float) -> None:
        """Count and log an answer that was sent."""
        self._counted["hit"] += 1
        self._notes.note("GET", answer.route, answer.status, request_id, answer.summary, started)

    def answer_repeated(self, head: bytes, server_headers: HeaderList) -> list[bytes] | None:
        """The bytes to send for a head that came before: it was parsed then, and means the same now.

        It is the same byte for byte, except for the request's id. ``server_headers`` are what the server adds to each
        response, such as ``Date``. None without an answer.
        """
        answer, given_id = self._by_head.get(head), None
        if answer is None:
            rest, given_id = _split_id(head)
            answer = self._by_head.get(rest)
        if answer is None or not self._holds(answer):
            return None
        return self._finish(answer, given_id, server_headers, time.perf_counter())

    def answer_parsed(
        self, target: bytes, headers: HeaderList, head: bytes, server_headers: HeaderList
    ) -> list[bytes] | None:
        """The bytes to send for a parsed GET; ``head`` is its whole head if that arrived in one piece, or empty."""
        started = time.perf_counter()
        fields = dict(headers)
        answer = self.look(spell(target, fields, headers))
        if answer is None:
            return None
        given_id = fields.get(b"x-request-id")
        rest, found_id = _split_id(head)
        if found_id == given_id and 0 < len(rest) <= _LONGEST:
            if len(self._by_head) >= _MOST:
                self._by_head.clear()
            self._by_head[rest] = answer
        return self._finish(answer, given_id, server_headers, started)

    def _finish(
        self, answer: ReadyAnswer, given_id: bytes | None, server_headers: HeaderList, started: float
    ) -> list[bytes]:
        if server_headers is not self._server_headers:  # a second has passed, and Date is another
            self._server_headers = server_headers
            self._server_head = b"".join(b"%b: %b\r\n" % field for field in server_headers)
        request_id = self._notes.choose_id(given_id)
        self.note(answer, request_id, started)
        status_line = STATUS_LINE[answer.status]
        head = b"%b%b%bx-request-id: %b\r\n\r\n" % (status_line, self._server_head, answer.head, request_id)
        return [head, answer.body]


def _split_id(head: bytes) -> tuple[bytes, bytes | None]:
    """A head without the field of the request's id, and the id; the whole head and None if none is found."""
    found = _ID_FIELD.search(head, 0, _LONGEST)
    return (head[: found.start()] + head[found.end() :], found[1]) if found else (head, None)


def spell(target: bytes, fields: Mapping[bytes, bytes], headers: HeaderList) -> Spelling | None:
    """What the answer to a GET depends on; None if on more than a spelling says.

    ``fields`` are the ``headers`` by name, and fewer if one of them is repeated.
    """
    host = fields.get(b"host")
    if host is None or not is_host(host) or len(fields) < len(headers) or not _NEVER_READY.isdisjoint(fields):
        return None
    return (target, fields.get(b"accept-encoding"), fields.get(b"accept"), fields.get(b"if-none-match"))


def _varied_by(start: Message) -> set[bytes]:
    """The header fields that ``Vary`` names, in lower case."""
    values = [value.lower() for name, value in start["headers"] if name == b"vary"]
    return {name.strip() for value in values for name in value.split(b",")}
