"""The layer that answers a repeated GET from finished bytes, valid for one version of the data."""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.db.data_version import DataVersion
from app.core.db.single_flight import SingleFlight
from app.core.errors import AppError, DatabaseUnavailable
from app.core.http.cache.coding import IDENTITY, encode, negotiate
from app.core.http.cache.conditional import is_not_modified
from app.core.http.cache.store import Answer, AnswerStore, Headers, Key, Reply, Representation, finish
from app.core.http.errors import documented, error_response
from app.core.http.formats import preferred_format
from app.core.http.middleware.unforeseen import UnforeseenErrors
from app.core.http.routes import RouteTable
from app.core.telemetry.counts import Counts

_REVALIDATED: Final = b"public, max-age=0, must-revalidate"
"""``Cache-Control`` of an answer that depends on the URL and the data version only, as those from a snapshot do.

Clients and proxies may keep it, but must revalidate it each time: a refresh can come at any moment.
"""

DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "The client has this answer: its `If-None-Match` names the `ETag`."},
    **documented(412, 503),
}
"""What such a route may answer besides, for OpenAPI."""

_CREDENTIALS: Final = frozenset({b"authorization", b"x-api-key"})
_CONDITIONS: Final = frozenset({b"if-match", b"if-none-match"})
_LARGEST_INLINE: Final = 8_192
"""Bytes that are compressed on the event loop, in half a millisecond; more go to a thread."""
_LONGEST_REMEMBERED: Final = 512


class ResponseCache:
    """ASGI layer: answers a repeated GET from finished bytes.

    Kept are 200s that their route declares public. An answer counts while
    its version of the data is in force; while the database is away, the last
    good one is shown for a time, and says so. However many ask for what is not
    there, it is computed once. Requests with credentials are neither answered
    from the store nor stored, and what belongs to one request is added by the
    layers outside of this one.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: RouteTable,
        counts: Counts,
        max_bytes: int,
        shared_max_age_seconds: int,
        varies_by_origin: bool,
    ) -> None:
        """Stand in front of an application.

        Args:
            app: The application.
            routes: Say which answers may be kept, and in which formats they come.
            counts: Where reads are counted.
            max_bytes: Bound of the memory for answers; 0 keeps none.
            shared_max_age_seconds: ``s-maxage`` of the answers; 0 leaves it out.
            varies_by_origin: Whether another layer answers differently to requests with ``Origin``.
        """
        self.app = app
        self._routes = routes
        self._counted = counts.cache
        self._shared = b", s-maxage=%d" % shared_max_age_seconds if shared_max_age_seconds else b""
        self._store = AnswerStore(max_bytes)
        self._flights: dict[Key, asyncio.Future[Answer | None]] = {}
        self._encodings: SingleFlight[Representation] = SingleFlight()
        self._with_errors = UnforeseenErrors(self._answer)
        self._long_way = _CREDENTIALS | {b"content-length", b"transfer-encoding", b"if-match"}
        if varies_by_origin:
            self._long_way |= {b"origin"}

    def ready(self, scope: Scope, fields: Mapping[bytes, bytes]) -> Reply | None:
        """The reply to a GET, where it takes no waiting and no other layer; None where it does."""
        store = self._store
        spelling = (scope["path"], scope["query_string"], fields.get(b"accept-encoding"), fields.get(b"accept"))
        kept = store.at_hand.get(spelling)
        if kept is None or not scope["state"]["data_version"].is_known(store.version):
            return None
        if len(fields) < len(scope["headers"]) or not self._long_way.isdisjoint(fields):
            return None
        self._counted["hit"] += 1
        representation, route = kept
        return _reply(representation, fields, route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_read = scope["type"] == "http" and scope["method"] == "GET"
        # Without a start, as under another application, there is no database and no state.
        if is_read and "data_version" in scope.get("state", ()) and self._is_cacheable(scope):
            await self._with_errors(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _is_cacheable(self, scope: Scope) -> bool:
        route = self._routes.find_route(scope)
        return route is not None and route.is_cacheable

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what may need more: the version, a computation, a coding, or a refusal."""
        fields = _fields(scope)
        accept_encoding, accept = fields.get(b"accept-encoding"), fields.get(b"accept")
        spelling = (scope["path"], scope["query_string"], accept_encoding, accept)
        query = _canonical(self._with_format(scope, accept))
        key = (scope["path"], query)
        # The application sees the query of the key, so that all who share an answer asked for the same.
        scope = {**scope, "query_string": query}
        age = None
        try:
            if self._store.max_bytes == 0 or _stands_alone(fields):
                self._counted["bypass"] += 1
                answer = await self._compute(scope, receive, send)
            else:
                answer, age = await self._find_or_compute(key, scope, receive, send)
            if answer is not None:
                kept = await self._represent(key, answer, negotiate(accept_encoding))
                self._store.put_at_hand(spelling, key, answer, kept)
                status, headers, body, _ = _reply(kept, fields, answer.route)
                if age is not None:
                    headers = (*headers, *_about_age(age))
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})
        except AppError as error:
            await error_response(error)(scope, receive, send)

    def _with_format(self, scope: Scope, accept: bytes | None) -> bytes:
        """The query, with the format that ``Accept`` prefers where the query names none."""
        query: bytes = scope["query_string"]
        if accept is None or b"format=" in query:
            return query
        route = self._routes.find_route(scope)
        wanted = preferred_format(accept, route.formats if route else frozenset())
        if wanted == "json":
            return query
        return b"&".join([*filter(None, [query]), b"format=%b" % wanted.encode()])

    async def _find_or_compute(
        self, key: Key, scope: Scope, receive: Receive, send: Send
    ) -> tuple[Answer | None, int | None]:
        """Find the answer that is in force, or compute it.

        Returns:
            The answer, None where it is an error and was sent already; and
            its age in seconds, None unless it is shown while the database is away.
        """
        versions: DataVersion = scope["state"]["data_version"]
        answer = self._store.get(key)
        while True:
            if answer is not None:
                try:
                    if await versions.is_in_force(answer.version):
                        self._counted["hit"] += 1
                        return answer, None
                except DatabaseUnavailable:
                    age = versions.stale_age(answer.version)
                    if age is None:
                        self._counted["miss"] += 1
                        raise
                    self._counted["stale"] += 1
                    return answer, age
            flight = self._flights.get(key)
            if flight is None:
                self._counted["miss"] += 1
                return await self._lead(key, scope, receive, send), None
            answer = await asyncio.shield(flight)
            if answer is None:
                self._counted["miss"] += 1
                return await self._compute(scope, receive, send), None

    async def _lead(self, key: Key, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """Compute an answer for all who ask for it meanwhile; they look for themselves whether it is new enough."""
        versions: DataVersion = scope["state"]["data_version"]
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        read_after = versions.now()
        answer = None

        async def send_unkept(message: Message) -> None:
            # Nothing here is for the others, who need not wait for the end: of a stream, its client decides when it is.
            if not flight.done():
                flight.set_result(None)
            await send(message)

        try:
            answer = await self._compute(scope, receive, send_unkept)
            if answer is not None and versions.learn(answer.version, read_after):
                self._store.keep(key, answer)
            return answer
        finally:
            del self._flights[key]
            if not flight.done():
                flight.set_result(answer)

    async def _compute(self, scope: Scope, receive: Receive, send: Send) -> Answer | None:
        """Run the application; None where its answer may not be kept, and went straight to the client."""
        start: Message | None = None
        body: list[bytes] = []

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and "version_read" in scope["state"]:
                message = _with_cache_control(message)
            if start is not None:
                body.append(message.get("body", b""))
            elif message["type"] == "http.response.start" and _may_be_kept(message, scope["state"]):
                start = message
            else:
                await send(message)

        await self.app(scope, receive, collect)
        if start is None:
            return None
        version = scope["state"]["version_read"]
        return finish(
            version, map(self._for_shared_caches, start["headers"]), b"".join(body), route=self._routes.label(scope)
        )

    def _for_shared_caches(self, header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """Add ``s-maxage`` where an answer has to be asked for each time."""
        name, value = header
        return (name, value + self._shared) if value == _REVALIDATED else header

    async def _represent(self, key: Key, answer: Answer, coding: str) -> Representation:
        """The answer in a coding; compressed once, and only where it is kept."""
        if coding == IDENTITY or self._store.get(key) is not answer:
            return answer.plain
        if coding not in answer.coded:
            await self._encodings.run((id(answer), coding), lambda: self._encode(key, answer, coding))
        return answer.coded[coding]

    async def _encode(self, key: Key, answer: Answer, coding: str) -> Representation:
        body = answer.plain.body
        if answer.is_compressible:
            inline = len(body) <= _LARGEST_INLINE
            body = encode(body, coding) if inline else await asyncio.to_thread(encode, body, coding)
        return self._store.add(key, answer, coding, body)


def _canonical(query: bytes) -> bytes:
    """The query in one spelling and order, as far as the application can't tell the difference."""
    if not query:
        return query
    return _remembered(query) if len(query) <= _LONGEST_REMEMBERED else _respelt(query)


def _respelt(query: bytes) -> bytes:
    return urlencode(sorted(parse_qsl(query.decode("latin-1"), keep_blank_values=True))).encode()


_remembered: Final = lru_cache(maxsize=512)(_respelt)


def _fields(scope: Scope) -> Mapping[bytes, bytes]:
    """The request's header fields by name; repeated ones are joined (RFC 9110, 5.3)."""
    fields = dict(scope["headers"])
    if len(fields) < len(scope["headers"]):
        values: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name, []).append(value)
        fields = {name: b", ".join(parts) for name, parts in values.items()}
    return fields


def _stands_alone(fields: Mapping[bytes, bytes]) -> bool:
    """Whether a request has credentials or a body, so that its answer is for nobody else."""
    has_body = fields.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in fields
    return has_body or not _CREDENTIALS.isdisjoint(fields)


def _with_cache_control(start: Message) -> Message:
    """Mark a 200 from a snapshot as cacheable, unless its route said otherwise."""
    if start["status"] != 200 or any(name == b"cache-control" for name, _ in start["headers"]):
        return start
    return {**start, "headers": [*start["headers"], (b"cache-control", _REVALIDATED)]}


def _may_be_kept(start: Message, state: Mapping[str, Any]) -> bool:
    headers = dict(start["headers"])
    is_public = b"public" in headers.get(b"cache-control", b"")
    # Accept is part of the URL by now; what else an answer may vary by is unknown here.
    depends_on_more = b"set-cookie" in headers or headers.get(b"vary", b"Accept") != b"Accept"
    # Before the first refresh no version tells of changes.
    return start["status"] == 200 and is_public and state.get("version_read", 0) > 0 and not depends_on_more


def _reply(kept: Representation, fields: Mapping[bytes, bytes], route: str) -> Reply:
    """The whole answer, or 304 for a client that has it."""
    if _CONDITIONS.isdisjoint(fields) or not is_not_modified(fields, kept.tag):
        return 200, kept.headers, kept.body, route
    return 304, kept.headers_304, b"", route


def _about_age(seconds: int) -> Headers:
    """Say that an answer may be out of date (RFC 9111, 5.1, and RFC 9211)."""
    about = b"countries; hit; ttl=-%d; detail=database-unavailable" % seconds
    return (b"age", b"%d" % seconds), (b"cache-status", about)
