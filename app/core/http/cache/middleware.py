"""The response cache: answers a repeated GET from finished bytes, valid for one version of the data."""

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.db.data_version import DataVersion
from app.core.db.single_flight import SingleFlight
from app.core.errors import AppError, DatabaseUnavailable
from app.core.http.access import CREDENTIALS
from app.core.http.cache.coding import IDENTITY, encode, negotiate
from app.core.http.cache.ready import KEPT
from app.core.http.cache.store import CachedResponse, Headers, Key, Representation, ResponseStore, finish, make_reply
from app.core.http.errors import documented, error_response
from app.core.http.formats import preferred_format
from app.core.http.routes import RouteTable
from app.core.telemetry.counts import Counts

_REVALIDATED: Final = b"public, max-age=0, must-revalidate"
"""``Cache-Control`` of an answer that depends on the URL and the data version only, as those from a snapshot do.

Clients and proxies may keep it, but must revalidate it each time: a refresh can come at any moment.
"""

DATA_SOURCES: Final = "/data-sources"
"""Path of the page about licences, to which every answer from a snapshot links."""

DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    304: {"description": "Not modified: `If-None-Match` names the current `ETag`."},
    **documented(412, 503),
}
"""Other responses of such a route, for OpenAPI."""

_LARGEST_INLINE: Final = 8_192
"""Bytes that are compressed on the event loop, in half a millisecond; more go to a thread."""
_LONGEST_REMEMBERED: Final = 512


class ResponseCache:
    """ASGI layer: answers a repeated GET from finished bytes.

    It keeps 200s that were read from a snapshot, unless their route set another Cache-Control. An answer is valid
    while its version of the data is current, and until midnight UTC if its route asked for the day; while the database
    is away, the last good one is sent for a time, also after midnight, marked as stale. Concurrent requests for the
    same answer share one computation. Requests with credentials are neither answered from the store nor stored. Headers
    of a single request are added by outer layers.
    """

    def __init__(self, app: ASGIApp, *, routes: RouteTable, counts: Counts, shared_max_age: int) -> None:
        """Wrap an application; ``shared_max_age`` is ``s-maxage`` in seconds, 0 leaves it out."""
        self.app = app
        self._routes = routes
        self._counted = counts.cache
        self._revalidated = _REVALIDATED + (b", s-maxage=%d" % shared_max_age if shared_max_age else b"")
        self._flights: dict[Key, asyncio.Future[CachedResponse | None]] = {}
        self._encodings: SingleFlight[Representation] = SingleFlight()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.find_route(scope)
        # Mounted in another application, there was no start and the state is empty.
        if route is None or not route.is_cacheable or "data_version" not in scope["state"]:
            await self.app(scope, receive, send)
            return
        fields = _fields(scope)
        accept_encoding, accept = fields.get(b"accept-encoding"), fields.get(b"accept")
        query = _canonical(_with_format(scope, accept, route.formats))
        key = (scope["path"], query)
        # The application sees the query of the key: all requests that share an answer are the same to it.
        scope = {**scope, "query_string": query}
        store: ResponseStore = scope["state"]["responses"]
        try:
            if store.max_bytes == 0 or _is_private(fields):
                self._counted["bypass"] += 1
                answer = await self._compute(scope, receive, send)
            else:
                answer = await self._find_or_compute(key, scope, receive, send)
            if answer is not None:
                kept = await self._represent(store, key, answer, negotiate(accept_encoding))
                status, headers, body = make_reply(kept, fields)
                age = _about_age(scope)
                if not age and store.get(key) is answer:
                    scope["state"][KEPT] = answer
                await send({"type": "http.response.start", "status": status, "headers": (*headers, *age)})
                await send({"type": "http.response.body", "body": body})
        except AppError as error:
            await error_response(error)(scope, receive, send)

    async def _find_or_compute(self, key: Key, scope: Scope, receive: Receive, send: Send) -> CachedResponse | None:
        """Find the current answer, or compute it; None if it may not be kept and was sent already."""
        versions: DataVersion = scope["state"]["data_version"]
        store: ResponseStore = scope["state"]["responses"]
        answer = store.get(key)
        while True:
            if answer is not None:
                try:
                    # Also where it is yesterday's: while the database is away, it is better than none.
                    if await versions.is_in_force(answer.version) and _is_of_today(answer, scope):
                        self._counted["hit"] += 1
                        return answer
                except DatabaseUnavailable:
                    age = versions.stale_age(answer.version)
                    if age is None:
                        self._counted["miss"] += 1
                        raise
                    self._counted["stale"] += 1
                    scope["state"]["stale_age"] = age
                    return answer
            flight = self._flights.get(key)
            if flight is None:
                self._counted["miss"] += 1
                return await self._lead(key, scope, receive, send)
            answer = await asyncio.shield(flight)
            if answer is None:
                self._counted["miss"] += 1
                return await self._compute(scope, receive, send)

    async def _lead(self, key: Key, scope: Scope, receive: Receive, send: Send) -> CachedResponse | None:
        """Compute an answer for all requests that wait for it; each checks whether it is new enough."""
        versions: DataVersion = scope["state"]["data_version"]
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        answer = None

        async def send_unkept(message: Message) -> None:
            # The others can't use this answer, and need not wait for its end: a stream may be as slow as its client.
            if not flight.done():
                flight.set_result(None)
            await send(message)

        try:
            answer = await self._compute(scope, receive, send_unkept)
            if answer is not None and answer.version == versions.known:
                scope["state"]["responses"].keep(key, answer)
            return answer
        finally:
            del self._flights[key]
            if not flight.done():
                flight.set_result(answer)

    async def _compute(self, scope: Scope, receive: Receive, send: Send) -> CachedResponse | None:
        """Run the application; None if its answer may not be kept and went straight to the client."""
        start: Message | None = None
        body: list[bytes] = []

        async def collect(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and "version_read" in scope["state"]:
                message = _with_licence(_with_cache_control(message), scope)
            if start is not None:
                body.append(message.get("body", b""))
            elif message["type"] == "http.response.start" and _may_be_kept(message, scope["state"]):
                start = message
            elif message["type"] == "http.response.start" and message["status"] < 500:
                await send({**message, "headers": [*message["headers"], *_about_age(scope)]})
            else:
                await send(message)

        await self.app(scope, receive, collect)
        if start is None:
            return None
        headers = [(name, self._revalidated if value == _REVALIDATED else value) for name, value in start["headers"]]
        day = scope["state"].get("today")  # set by get_today(), if the route asked for it
        return finish(scope["state"]["version_read"], headers, b"".join(body), day=day)

    async def _represent(self, store: ResponseStore, key: Key, answer: CachedResponse, coding: str) -> Representation:
        """The answer in a coding; compressed once, and only if it is kept."""
        if coding == IDENTITY or store.get(key) is not answer:
            return answer.plain
        if coding not in answer.coded:
            await self._encodings.run((id(answer), coding), lambda: _encode(store, key, answer, coding))
        return answer.coded[coding]


async def _encode(store: ResponseStore, key: Key, answer: CachedResponse, coding: str) -> Representation:
    body = answer.plain.body
    if answer.is_compressible:
        inline = len(body) <= _LARGEST_INLINE
        body = encode(body, coding) if inline else await asyncio.to_thread(encode, body, coding)
    return store.add(key, answer, coding, body)


def _about_age(scope: Scope) -> Headers:
    """Headers that say how old an answer may be (RFC 9111, 5.1, and RFC 9211); none unless the database is away."""
    age = scope["state"].get("stale_age")
    if age is None:
        return ()
    return (b"age", b"%d" % age), (b"cache-status", b"countries; hit; ttl=-%d; detail=database-unavailable" % age)


def _is_of_today(answer: CachedResponse, scope: Scope) -> bool:
    return answer.day is None or answer.day == scope["state"]["clock"]().date()


def _with_format(scope: Scope, accept: bytes | None, offered: frozenset[str]) -> bytes:
    """The query, with the format that ``Accept`` prefers if the query names none."""
    query: bytes = scope["query_string"]
    if accept is None or b"format=" in query:
        return query
    wanted = preferred_format(accept, offered)
    if wanted == "json":
        return query
    return b"&".join([*filter(None, [query]), b"format=%b" % wanted.encode()])


def _canonical(query: bytes) -> bytes:
    """The query in one spelling and order, where the application sees no difference."""
    if not query:
        return query
    return (_respelt if len(query) <= _LONGEST_REMEMBERED else _respelt.__wrapped__)(query)


@lru_cache(maxsize=512)
def _respelt(query: bytes) -> bytes:
    return urlencode(sorted(parse_qsl(query.decode("latin-1"), keep_blank_values=True))).encode()


def _fields(scope: Scope) -> Mapping[bytes, bytes]:
    """The request's header fields by name; repeated ones are joined (RFC 9110, 5.3)."""
    fields = dict(scope["headers"])
    if len(fields) < len(scope["headers"]):
        values: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name, []).append(value)
        fields = {name: b", ".join(parts) for name, parts in values.items()}
    return fields


def _is_private(fields: Mapping[bytes, bytes]) -> bool:
    """Whether a request has credentials or a body, so that its answer must not be shared."""
    has_body = fields.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in fields
    return has_body or not CREDENTIALS.isdisjoint(fields)


def _with_cache_control(start: Message) -> Message:
    """Mark a 200 from a snapshot as cacheable, unless its route said otherwise."""
    if start["status"] != 200 or any(name == b"cache-control" for name, _ in start["headers"]):
        return start
    return {**start, "headers": [*start["headers"], (b"cache-control", _REVALIDATED)]}


def licence_link(scope: Scope) -> str:
    """The ``Link`` (RFC 8288) to the sources and licences of the data."""
    return f'<{quote(scope.get("root_path", ""))}{DATA_SOURCES}>; rel="license"'


def _with_licence(start: Message, scope: Scope) -> Message:
    """Link a 200 from a snapshot to the sources and licences of its data."""
    if start["status"] != 200:
        return start
    others = [(name, value) for name, value in start["headers"] if name != b"link"]
    links = [value for name, value in start["headers"] if name == b"link"]
    return {**start, "headers": [*others, (b"link", b", ".join([*links, licence_link(scope).encode()]))]}


def _may_be_kept(start: Message, state: Mapping[str, Any]) -> bool:
    headers = dict(start["headers"])
    is_public = b"public" in headers.get(b"cache-control", b"")
    # Accept is part of the key by now; anything else an answer varies by is unknown here.
    depends_on_more = b"set-cookie" in headers or headers.get(b"vary", b"Accept") != b"Accept"
    # Version 0 is before the first refresh, and does not change with the data.
    return start["status"] == 200 and is_public and state.get("version_read", 0) > 0 and not depends_on_more
