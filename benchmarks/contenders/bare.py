"""The least that a Python server can do: an ASGI function that sends answers it was given."""

import os
from pathlib import Path

from starlette.types import Receive, Scope, Send

from benchmarks.base.answers import read_messages

_MESSAGES = read_messages(Path(os.environ["ANSWERS_FILE"]))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the answer that belongs to the path and the query.

    The scope of start and stop has no path; the error is uvicorn's sign that
    the application has neither.
    """
    start, body = _MESSAGES[scope["raw_path"], scope["query_string"]]
    await send(start)
    await send(body)
