"""An application with routes that read JSON and that fail, for all that HTTP asks of every route alike."""

import shutil
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, FiniteFloat

from app.core.http.access import Rule, access
from app.main import create_app
from tests.conftest import Client, make_settings, serving

LIMIT = 250_000
"""Bytes of a body."""


def serve_sqlite(folder: Path, template: Path, **settings: Any) -> AbstractAsyncContextManager[Client]:
    """A service over an empty database in this folder, whose data comes with the package."""
    shutil.copy(template, folder / "x.db")
    settings = {"country_sources": "bundled", "rate_sources": "bundled", **settings}
    return serving(make_settings(database_url=f"sqlite:///{folder}/x.db", **settings))


class Parcel(BaseModel):
    """A body."""

    name: str
    weight: FiniteFloat = 0
    pieces: int = 1


class StrictParcel(Parcel):
    """One that takes no other fields."""

    model_config = ConfigDict(extra="forbid")


@pytest.fixture(scope="session")
async def parcels():
    """The application with routes that read JSON and that fail; it has no state that a test could leave behind."""
    app = create_app(make_settings(max_body_bytes=LIMIT))
    large = {**access(Rule.READER), "x-large-body": True}

    @app.post("/parcels", openapi_extra=large)
    async def send(parcel: Parcel) -> Parcel:
        return parcel

    @app.post("/strict", openapi_extra=large)
    async def send_strictly(parcel: StrictParcel) -> None: ...

    @app.get("/broken", openapi_extra=access(Rule.EVERYONE))
    async def fail() -> None:
        raise RuntimeError("the password is hunter2")

    @app.get("/teapot", openapi_extra=access(Rule.EVERYONE))
    async def brew() -> None:
        raise HTTPException(418, "I am a teapot", headers={"X-Tea": "none"})

    @app.get("/half", openapi_extra=access(Rule.EVERYONE))
    async def half() -> StreamingResponse:
        def pieces() -> Iterator[bytes]:
            yield b"half of an ans"
            raise RuntimeError("no second half")

        return StreamingResponse(pieces())

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as started:
        yield started
