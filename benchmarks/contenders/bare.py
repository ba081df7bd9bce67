"""The minimal Python server: an ASGI function that sends prepared responses."""

import os
from pathlib import Path

from starlette.types import Receive, Scope, Send

from benchmarks.base.answers import read_messages

_MESSAGES = read_messages(Path(os.environ["ANSWERS_FILE"]))


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the response for the path and the query.

    The lifespan scope has no path; the KeyError tells uvicorn that the
    application has no lifespan.
    """
    start, body = _MESSAGES[scope["raw_path"], scope["query_string"]]
    await send(start)
    await send(body)
