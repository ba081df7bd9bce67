"""Turns unexpected exceptions into a logged 500."""

import asyncio

from loguru import logger
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core.errors import AppError
from app.core.http.errors import error_response


class Stopping(AppError):
    """The service stops before this request has been answered."""

    status_code = 503
    title = "Service stopping"
    retry_after_seconds = 2


class UnforeseenErrors:
    """ASGI layer: answers an unforeseen exception with a 500 without details, and logs it."""

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
            # At a stop the server cancels what has not ended in time, and would answer in plain text.
            if scope["type"] == "http" and not started:
                stopping = Stopping("It did not end in time; send the request again", headers={"Connection": "close"})
                await error_response(stopping)(scope, receive, send)
            raise
        except Exception:
            if scope["type"] != "http" or started:
                raise  # part of the answer is sent; only closing the connection can tell the client
            logger.exception("{} {} failed", scope["method"], scope["path"])
            await error_response(AppError())(scope, receive, send)
