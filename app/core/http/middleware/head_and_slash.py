"""HEAD on every route with GET, and paths with a trailing slash."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAndSlash:
    """ASGI layer: HEAD works wherever GET does, and a trailing slash makes no difference.

    Listing HEAD at each route would double the operation ids of OpenAPI, and
    redirecting to the other spelling would cost a client a round trip.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        # An encoded slash is part of a name; only a literal one ends a path.
        if path.endswith("/") and len(path) > 1 and scope.get("raw_path", b"/").endswith(b"/"):
            scope = {**scope, "path": path[:-1]}
        if scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, send_head)
