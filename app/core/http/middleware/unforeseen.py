"""Turns unforeseen exceptions into a logged 500."""

import asyncio

from loguru import logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import AppError
from app.core.http.errors import error_response


class Stopping(AppError):
    """The service stops, and this request had not ended in the time that is left to requests then."""

    status_code = 503
    title = "Service stopping"
    retry_after_seconds = 2


class UnforeseenErrors:
    """ASGI layer: an exception that nobody foresaw is a logged 500 that tells nothing.

    It stands inside the CORS and request-id layers, so that this answer gets
    their headers like any other.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watch(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except asyncio.CancelledError:
            # The server cancels what has not ended in the time for a stop, and would answer in plain text itself.
            if scope["type"] == "http" and not started:
                stopping = Stopping("It did not end in time; send the request again", headers={"Connection": "close"})
                await error_response(stopping)(scope, receive, send)
            raise
        except Exception:
            if scope["type"] != "http" or started:
                raise  # half an answer is out: only a broken connection tells the client
            logger.exception("{} {} failed", scope["method"], scope["path"])
            await error_response(AppError())(scope, receive, send)
