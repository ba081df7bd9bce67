"""Cached responses: the bytes of a 200 in every coding requested so far, with their entity tags."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from app.core.http.cache.conditional import entity_tag, is_not_modified

_COMPRESSIBLE: Final = (b"application/json", b"application/x-ndjson", b"text/")
_CONDITIONS: Final = frozenset({b"if-match", b"if-none-match"})
_SMALLEST_COMPRESSED: Final = 500
"""Bytes; smaller bodies gain next to nothing."""
_OVERHEAD: Final = 1_000
"""Bytes of memory that a representation takes beyond its body."""

Headers = tuple[tuple[bytes, bytes], ...]
Reply = tuple[int, Headers, bytes]
"""Status, headers and body."""
Key = tuple[str, bytes]
"""Path and canonical query."""


@dataclass(frozen=True, slots=True)
class Representation:
    """An answer in one content coding, ready to send."""

    tag: bytes
    headers: Headers
    headers_304: Headers
    """Without those that describe the body."""
    body: bytes


@dataclass(slots=True)
class CachedResponse:
    """One finished 200."""

    version: int
    """Of the data that it shows."""
    day: date | None
    """The day in UTC that it was computed for, and after which it does not count; None if it depends on none."""
    headers: Headers
    """Without those that depend on the coding."""
    content_type: bytes
    plain: Representation
    """Without a content coding."""
    coded: dict[str, Representation] = field(default_factory=dict)
    """By content coding; the plain one if compressing gains nothing."""

    @property
    def is_compressible(self) -> bool:
        """Whether compressing it is worth trying."""
        return self.content_type.startswith(_COMPRESSIBLE) and len(self.plain.body) >= _SMALLEST_COMPRESSED

    @property
    def size(self) -> int:
        """Approximate size in memory, in bytes."""
        kept = [self.plain, *(coded for coded in self.coded.values() if coded is not self.plain)]
        about = sum(len(value) for _, value in self.headers)
        return _OVERHEAD + about + sum(_OVERHEAD + len(representation.body) for representation in kept)


def finish(
    version: int, sent: Iterable[tuple[bytes, bytes]], body: bytes, *, day: date | None = None
) -> CachedResponse:
    """Make a response to keep from the headers and body that the application sent."""
    fields = dict(sent)
    content_type = fields.pop(b"content-type", b"application/octet-stream")
    fields.pop(b"content-length", None)
    if content_type.startswith(_COMPRESSIBLE):
        fields[b"vary"] = b", ".join([*filter(None, [fields.get(b"vary")]), b"Accept-Encoding"])
    headers = tuple(fields.items())
    return CachedResponse(version, day, headers, content_type, _represent(headers, content_type, body))


def _represent(headers: Headers, content_type: bytes, body: bytes, coding: str = "") -> Representation:
    tag = entity_tag(body)
    tagged = (*headers, (b"etag", tag))
    about_body = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    if coding:
        about_body.append((b"content-encoding", coding.encode()))
    return Representation(tag, (*about_body, *tagged), tagged, body)


def make_reply(kept: Representation, fields: Mapping[bytes, bytes]) -> Reply:
    """The whole answer, or 304 for a client that has it.

    Raises:
        PreconditionFailed: The request has an ``If-Match`` that does not hold.
    """
    if _CONDITIONS.isdisjoint(fields) or not is_not_modified(fields, kept.tag):
        return 200, kept.headers, kept.body
    return 304, kept.headers_304, b""


class ResponseStore:
    """Keeps the responses of one data version, those used last, up to a number of bytes."""

    def __init__(self, max_bytes: int, *, on_drop: Callable[[], None]) -> None:
        """``on_drop`` is called when a response is dropped, so that nothing else keeps its bytes in memory."""
        self.max_bytes = max_bytes
        self._on_drop = on_drop
        self.bytes = 0
        self.version = -1
        """Of the data, for all answers."""
        self._answers: OrderedDict[Key, CachedResponse] = OrderedDict()

    def get(self, key: Key) -> CachedResponse | None:
        """Find a response; it counts as used."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def keep(self, key: Key, answer: CachedResponse) -> None:
        """Keep a response; those of another version are dropped."""
        if answer.version != self.version:
            self._answers.clear()
            self._on_drop()
            self.bytes, self.version = 0, answer.version
        if _size(key, answer) > self.max_bytes:
            return
        self._drop(key)
        self._answers[key] = answer
        self.bytes += _size(key, answer)
        self._make_room()

    def add(self, key: Key, answer: CachedResponse, coding: str, body: bytes) -> Representation:
        """Add the body in one more coding to a response; the plain one is used unless it is smaller."""
        before, is_smaller = answer.size, len(body) < len(answer.plain.body)
        representation = _represent(answer.headers, answer.content_type, body, coding) if is_smaller else answer.plain
        answer.coded[coding] = representation
        if self._answers.get(key) is answer:
            self.bytes += answer.size - before
            self._make_room()
        return representation

    def _make_room(self) -> None:
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: Key) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self.bytes -= _size(key, answer)
            self._on_drop()


def _size(key: Key, answer: CachedResponse) -> int:
    # Clients choose the keys; a character of a path may take four bytes.
    return 4 * len(key[0]) + len(key[1]) + answer.size
