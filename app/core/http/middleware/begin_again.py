"""Begins a request again if the data change while it is answered."""

from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.db.snapshots import Outdated


class BeginAgain:
    """ASGI layer: lets a route that met outdated data start over, before it has sent anything."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            try:
                await self.app(scope, receive, send)
            except Outdated:
                continue
            return
