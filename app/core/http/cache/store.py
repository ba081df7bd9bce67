"""Finished answers: the bytes of a 200 in every coding asked for so far, with their entity tags."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from app.core.http.cache.conditional import entity_tag, is_not_modified

_COMPRESSIBLE: Final = (b"application/json", b"application/x-ndjson", b"text/")
_CONDITIONS: Final = frozenset({b"if-match", b"if-none-match"})
_SMALLEST_COMPRESSED: Final = 500
"""Bytes; below, there is next to nothing to gain."""
_OVERHEAD: Final = 1_000
"""Bytes of memory that a representation takes beyond its body."""
_MOST_SPELLINGS: Final = 1_000
_LONGEST_SPELLING: Final = 500
"""Characters and bytes. Clients choose the spellings, so their memory needs a bound."""

Headers = tuple[tuple[bytes, bytes], ...]
Reply = tuple[int, Headers, bytes, str]
"""Status, headers, body, and the route for figures."""
Key = tuple[str, bytes]
"""Path and canonical query."""
Spelling = tuple[str, bytes, bytes | None, bytes | None]
"""Path, query, ``Accept-Encoding`` and ``Accept`` as a client wrote them; None where it has none."""


@dataclass(frozen=True, slots=True)
class Representation:
    """An answer in one content coding, ready to send."""

    tag: bytes
    headers: Headers
    headers_304: Headers
    """Without those that describe the body, which a 304 does not have."""
    body: bytes


@dataclass(slots=True)
class Answer:
    """One finished 200."""

    version: int
    """Of the data that it shows."""
    headers: Headers
    """Without those that depend on the coding."""
    content_type: bytes
    plain: Representation
    """Without a content coding."""
    route: str = ""
    """Whose answer it is, for figures."""
    coded: dict[str, Representation] = field(default_factory=dict)
    """By content coding; the plain one where compressing it brings nothing."""

    @property
    def is_compressible(self) -> bool:
        """Whether it is worth trying."""
        return self.content_type.startswith(_COMPRESSIBLE) and len(self.plain.body) >= _SMALLEST_COMPRESSED

    @property
    def size(self) -> int:
        """Bytes of memory, nearly."""
        kept = [self.plain, *(coded for coded in self.coded.values() if coded is not self.plain)]
        about = sum(len(value) for _, value in self.headers)
        return _OVERHEAD + about + sum(_OVERHEAD + len(representation.body) for representation in kept)

    def add(self, coding: str, body: bytes) -> Representation:
        """Take in the body in one more coding, unless it is no smaller."""
        smaller = len(body) < len(self.plain.body)
        kept = _represent(self.headers, self.content_type, body, coding) if smaller else self.plain
        self.coded[coding] = kept
        return kept


def finish(version: int, sent: Iterable[tuple[bytes, bytes]], body: bytes, *, route: str = "") -> Answer:
    """Make a finished answer of what the application sent, headers and body."""
    fields = dict(sent)
    content_type = fields.pop(b"content-type", b"application/octet-stream")
    fields.pop(b"content-length", None)
    if content_type.startswith(_COMPRESSIBLE):
        fields[b"vary"] = b", ".join([*filter(None, [fields.get(b"vary")]), b"Accept-Encoding"])
    headers = tuple(fields.items())
    return Answer(version, headers, content_type, _represent(headers, content_type, body), route)


def _represent(headers: Headers, content_type: bytes, body: bytes, coding: str = "") -> Representation:
    tag = entity_tag(body)
    tagged = (*headers, (b"etag", tag))
    about_body = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    if coding:
        about_body.append((b"content-encoding", coding.encode()))
    return Representation(tag, (*about_body, *tagged), tagged, body)


def make_reply(kept: Representation, fields: Mapping[bytes, bytes], route: str) -> Reply:
    """The whole answer, or 304 for a client that has it.

    Raises:
        PreconditionFailed: The request has an ``If-Match`` that does not hold.
    """
    if _CONDITIONS.isdisjoint(fields) or not is_not_modified(fields, kept.tag):
        return 200, kept.headers, kept.body, route
    return 304, kept.headers_304, b"", route


class AnswerStore:
    """Keeps answers of one version of the data in memory, those used last, up to so many bytes."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.version = -1
        """Of the data, for all answers."""
        self.at_hand: dict[Spelling, tuple[Reply, Representation]] = {}
        """The whole reply to requests as they were spelt before, found in one step, and what it is made of.

        Emptied with each answer that goes. Finding something here does not
        count as use; after that, everything still asked for is used again.
        """
        self._answers: OrderedDict[Key, Answer] = OrderedDict()

    def get(self, key: Key) -> Answer | None:
        """Find an answer; it counts as used."""
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def keep(self, key: Key, answer: Answer) -> None:
        """Take an answer in; answers of another version go."""
        if answer.version != self.version:
            self._answers.clear()
            self.at_hand.clear()
            self.bytes, self.version = 0, answer.version
        if _size(key, answer) > self.max_bytes:
            return
        self._drop(key)
        self._answers[key] = answer
        self.bytes += _size(key, answer)
        self._make_room()

    def add(self, key: Key, answer: Answer, coding: str, body: bytes) -> Representation:
        """Add a coding to an answer, and count it where the answer is kept."""
        before = answer.size
        representation = answer.add(coding, body)
        if self._answers.get(key) is answer:
            self.bytes += answer.size - before
            self._make_room()
        return representation

    def put_at_hand(self, spelling: Spelling, key: Key, answer: Answer, representation: Representation) -> None:
        """Remember what to send for this spelling, where the answer is kept."""
        if self._answers.get(key) is answer and sum(len(part or "") for part in spelling) < _LONGEST_SPELLING:
            if len(self.at_hand) >= _MOST_SPELLINGS:
                self.at_hand.clear()
            self.at_hand[spelling] = make_reply(representation, {}, answer.route), representation

    def _make_room(self) -> None:
        while self.bytes > self.max_bytes:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: Key) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self.bytes -= _size(key, answer)
            self.at_hand.clear()


def _size(key: Key, answer: Answer) -> int:
    # Clients choose the keys; a character of a path may take four bytes.
    return 4 * len(key[0]) + len(key[1]) + answer.size
