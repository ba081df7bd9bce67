"""A real HTTP server that plays an upstream: well-behaved, slow, broken, huge or lying."""

import asyncio
import json
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """A request that the service sent."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    method: str = "GET"
    content: bytes = b""

    def json(self) -> Any:
        return json.loads(self.content)


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class FakeUpstream:
    """Answers each path as configured, and records the requests."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)
    hits: Counter[str] = field(default_factory=Counter)
    requests: list[Request] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{path}"

    def reset(self) -> None:
        self.answers.clear()
        self.hits.clear()
        self.requests.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            request = _parse(await reader.readuntil(b"\r\n\r\n"))
            content = await reader.readexactly(int(request.headers.get("content-length", 0)))
            request = replace(request, content=content)
            self.hits[request.path] += 1
            self.requests.append(request)
            await self.answers.get(request.path, status(404))(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client disconnected
        finally:
            writer.close()


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    method, target, _ = first.split(" ")
    parts = urlsplit(target)
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Request(parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}, headers, method)


def body(content: bytes, *, code: int = 200, length: int | None = None, **headers: Any) -> Answer:
    """Answer with these bytes; a larger Content-Length makes it a truncated answer."""
    head = {"Content-Type": "application/json", "Content-Length": str(len(content) if length is None else length)}
    head |= {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_: Request, writer: asyncio.StreamWriter) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        writer.write(f"HTTP/1.1 {code} X\r\nConnection: close\r\n{lines}\r\n".encode() + content)
        await writer.drain()

    return answer


def document(payload: Any, **headers: Any) -> Answer:
    return body(json.dumps(payload).encode(), **headers)


def status(code: int, text: str = "{}", **headers: Any) -> Answer:
    return body(text.encode(), code=code, **headers)


def html() -> Answer:
    return body(b"<!doctype html><title>Hello</title>", Content_Type="text/html")


def truncated(payload: Any) -> Answer:
    content = json.dumps(payload).encode()
    return body(content[: len(content) // 2], length=len(content))


async def hang(_: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


def after(seconds: float, then: Answer) -> Answer:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        await then(request, writer)

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Give one answer per request in this order; the last one repeats."""
    left = list(answers)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return answer


def pages(objects: list[Any], *, key: str) -> Answer:
    """REST Countries v5: pages by limit and offset, for callers with the key."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.headers.get("authorization") != f"bearer {key}".lower():
            refusal = {"errors": [{"message": "No matching authorization key found.", "code": "authKeyNotFound"}]}
            await status(401, json.dumps(refusal))(request, writer)
            return
        limit, offset = int(request.query.get("limit", 25)), int(request.query.get("offset", 0))
        page = objects[offset : offset + limit]
        meta = {"total": len(objects), "count": len(page), "limit": limit, "offset": offset}
        meta["more"] = offset + len(page) < len(objects)
        await document({"data": {"objects": page, "meta": meta}})(request, writer)

    return answer
