"""A service stops also where a change comes in the same moment."""

import asyncio

import httpx
import pytest

from app.audit.delivery import Courier


@pytest.mark.engines("sqlite")  # it is about the event loop
async def test_delivery_stops_when_an_entry_comes_in_the_moment_of_the_stop(client, settings):
    database = client.state["database"]
    async with httpx.AsyncClient() as http:
        for _ in range(3):
            task = asyncio.create_task(Courier(database, http, settings).run())
            await asyncio.sleep(0.1)  # it waits for entries
            database.audited.set()
            task.cancel()

            done, _ = await asyncio.wait({task}, timeout=20)
            assert done == {task}
            assert task.cancelled()
