"""Replies from memory that need neither waiting nor any other layer."""

from collections import Counter
from collections.abc import Callable, Mapping

from starlette.types import Scope

from app.core.http.cache.store import AnswerStore, Reply, make_reply

CREDENTIALS = frozenset({b"authorization", b"x-api-key"})

Ready = Callable[[Scope, Mapping[bytes, bytes]], Reply | None]
"""Takes a GET, and its header fields by name as well; of a repeated one the last."""


def make_ready(store: AnswerStore, counted: Counter[str], *, varies_by_origin: bool) -> Ready:
    """Make the look-up of such replies.

    Args:
        store: Where the cache keeps its answers.
        counted: Reads by result.
        varies_by_origin: Whether another layer answers differently to requests with ``Origin``.
    """
    by_spelling = store.at_hand
    long_way = CREDENTIALS | {b"content-length", b"transfer-encoding", b"if-match"}
    if varies_by_origin:
        long_way |= {b"origin"}

    def ready(scope: Scope, fields: Mapping[bytes, bytes]) -> Reply | None:
        spelling = (scope["path"], scope["query_string"], fields.get(b"accept-encoding"), fields.get(b"accept"))
        kept = by_spelling.get(spelling)
        if kept is None or not scope["state"]["data_version"].is_known(store.version):
            return None
        if len(fields) < len(scope["headers"]) or not long_way.isdisjoint(fields):
            return None
        counted["hit"] += 1
        reply, representation = kept
        return make_reply(representation, fields, reply[3]) if b"if-none-match" in fields else reply

    return ready
