"""Ready replies: from memory, without waiting and without any other layer."""

from collections import Counter
from collections.abc import Callable, Mapping

from starlette.types import Scope

from app.core.http.cache.store import Reply, ResponseStore, make_reply

CREDENTIALS = frozenset({b"authorization", b"x-api-key"})

Ready = Callable[[Scope, Mapping[bytes, bytes]], Reply | None]
"""Takes a GET and its header fields by name; of a repeated one the last."""


def make_ready(store: ResponseStore, counted: Counter[str], *, varies_by_origin: bool) -> Ready:
    """Make the look-up of ready replies.

    Args:
        store: Where the cache keeps its responses.
        counted: Counts of reads by result.
        varies_by_origin: Whether another layer answers differently to requests with ``Origin``.
    """
    replies = store.by_raw_request
    long_way = CREDENTIALS | {b"content-length", b"transfer-encoding", b"if-match"}
    if varies_by_origin:
        long_way |= {b"origin"}

    def ready(scope: Scope, fields: Mapping[bytes, bytes]) -> Reply | None:
        raw_request = (scope["path"], scope["query_string"], fields.get(b"accept-encoding"), fields.get(b"accept"))
        kept = replies.get(raw_request)
        if kept is None or not scope["state"]["data_version"].is_known(store.version):
            return None
        if len(fields) < len(scope["headers"]) or not long_way.isdisjoint(fields):
            return None
        counted["hit"] += 1
        reply, representation = kept
        return make_reply(representation, fields, reply[3]) if b"if-none-match" in fields else reply

    return ready
