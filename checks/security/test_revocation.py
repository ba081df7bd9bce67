"""Uploads by an account that is deactivated, to a service of two processes: nothing is stored after the answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import httpx
import pytest

from tests.core.http.test_access import KEY, PASSWORD
from tests.support.service import ServedProcess

OPERATOR: Final = {"X-API-Key": KEY}
LINES: Final = 1000


@pytest.mark.row("4.2 uploads of an account that is deactivated")
async def test_nothing_is_stored_after_the_answer_to_a_deactivation(process_settings, tmp_path, is_full, figure):
    """Broken on purpose: the credential was read without a lock; up to two batches were stored after the answer."""
    rounds, streams = (10, 8) if is_full else (1, 3)
    settings = {"admin_api_key": KEY, "web_concurrency": 2, "log_level": "WARNING", **process_settings}
    stored, slowest = 0, 0.0
    async with (
        ServedProcess(tmp_path, **settings) as service,
        httpx.AsyncClient(base_url=service.url, timeout=60) as client,
    ):
        for number in range(rounds):
            user_id, token = await sign_up(client, f"{number}@example.com")
            ubids = [await new_transfer(client) for _ in range(streams)]
            is_over = asyncio.Event()
            uploads = [asyncio.create_task(upload(client, ubid, token, is_over)) for ubid in ubids]
            while await count(client, ubids) < 5000 * streams:
                await asyncio.sleep(0.1)
            started = time.monotonic()
            answer = await client.patch(f"/users/{user_id}", json={"is_active": False}, headers=OPERATOR)
            slowest = max(slowest, time.monotonic() - started)
            assert answer.status_code == 200, answer.text
            at_once = await count(client, ubids)
            await asyncio.sleep(1)
            is_over.set()
            assert await asyncio.gather(*uploads) == [401] * streams
            assert await count(client, ubids) == at_once
            stored += at_once
    figure(f"{rounds * streams} uploads of {stored:,} documents, slowest deactivation {slowest:.1f} s, 0 stored later")


async def sign_up(client: httpx.AsyncClient, email: str) -> tuple[int, dict[str, str]]:
    account = {"fname": "E", "lname": "D", "email": email, "password": PASSWORD, "role": "editor"}
    user_id = (await client.post("/users", json=account, headers=OPERATOR)).json()["id"]
    signed = await client.post("/auth/token", data={"username": email, "password": PASSWORD})
    return user_id, {"Authorization": f"Bearer {signed.json()['access_token']}"}


async def new_transfer(client: httpx.AsyncClient) -> str:
    transfer = {"UBID": str(uuid4()), "SMScount": 1, "documents": 1, "fileName": "f", "origName": "o"}
    response = await client.post("/tracking/sms_transfers", json=transfer, headers=OPERATOR)
    assert response.status_code == 201, response.text
    return str(transfer["UBID"])


async def upload(client: httpx.AsyncClient, ubid: str, token: dict[str, str], is_over: asyncio.Event) -> int:
    """Send documents until it is over; returns the status."""

    async def lines() -> AsyncIterator[bytes]:
        number = 0
        while not is_over.is_set():
            ids = range(number, number + LINES)
            yield b"".join(b'{"SMScount":1,"uniqueId":"%010d","data":{}}\n' % index for index in ids)
            number += LINES

    headers = {**token, "Content-Type": "application/x-ndjson"}
    return (await client.post(f"/tracking/sms_documents/{ubid}/stream", content=lines(), headers=headers)).status_code


async def count(client: httpx.AsyncClient, ubids: list[str]) -> int:
    """Documents that are stored; a database that is too busy to answer in time is asked again."""
    found = 0
    for ubid in ubids:
        while (page := await client.get(f"/tracking/sms_documents/{ubid}", headers=OPERATOR)).status_code == 503:
            await asyncio.sleep(0.1)
        found += int(page.json()["result"].split()[1])
    return found
