"""Times requests through the application in one process: without sockets, a server or a client.

As a script, ``python -P in_process.py <times> <path>...`` prints the costs as JSON. The application is that of
PYTHONPATH, also of another checkout, so this file imports nothing else of this one.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from statistics import median
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Callable[[], Awaitable[Message]], Send], Awaitable[None]]

WARM_UP = 20


async def ask(app: Application, state: dict[str, Any], path: str, *, method: str = "GET") -> float:
    """Send a request.

    Returns:
        Seconds to the last byte of its response.

    Raises:
        RuntimeError: The response is not a 200.
    """
    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "state": dict(state),
    }
    left: list[Message] = [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if not left:
            await asyncio.Event().wait()  # the client stays
        return left.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    started = time.perf_counter()
    await app(scope, receive, send)
    seconds = time.perf_counter() - started
    if sent[0]["status"] != 200:
        raise RuntimeError(f"{method} {path}: {sent[0]['status']} {sent[-1].get('body')!r}")
    return seconds


async def time_paths(times: int, paths: list[str]) -> dict[str, tuple[float, float]]:
    """Request each path repeatedly, and a function that does nothing, under the name ``""``.

    Returns:
        Median milliseconds, and mean milliseconds of this process's processor time.
    """
    from app.main import app  # noqa: PLC0415  # this file is also imported for ask()

    async with app.router.lifespan_context(app) as state:
        costs = {path: await _cost(app, dict(state or {}), path, times) for path in paths}
    return {"": await _cost(_nothing, {}, "/", times), **costs}


async def _cost(app: Application, state: dict[str, Any], path: str, times: int) -> tuple[float, float]:
    for _ in range(WARM_UP):
        await ask(app, state, path)
    before = time.process_time()
    seconds = [await ask(app, state, path) for _ in range(times)]
    return 1000 * median(seconds), 1000 * (time.process_time() - before) / times


async def _nothing(_scope: Message, _receive: object, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    print(json.dumps(asyncio.run(time_paths(int(sys.argv[1]), sys.argv[2:]))))
