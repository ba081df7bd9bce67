"""The application with one more path, which shows the number of tasks in its event loop."""

import asyncio

from starlette.types import Receive, Scope, Send

from app.main import app as service

TASKS = "/tests/tasks"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope.get("path") != TASKS:
        await service(scope, receive, send)
        return
    body = str(len(asyncio.all_tasks())).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})
