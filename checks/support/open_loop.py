"""Open-loop load: requests are sent at a steady rate whether or not earlier ones were answered."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

IN_TIME_SECONDS: Final = 1.0
"""Later responses are useless."""
_GIVE_UP_SECONDS: Final = 10.0


@dataclass
class Outcome:
    """Results of the requests."""

    seconds: float
    statuses: Counter[int] = field(default_factory=Counter)
    """0 is a broken connection, or no response in ten seconds."""
    good: int = 0
    """Number of responses with 200 in time."""

    @property
    def goodput(self) -> float:
        """Good responses per second."""
        return self.good / self.seconds


class OpenLoop:
    """Sends to one server at a steady rate over kept connections; opens one if none is free."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._request = f"GET {path} HTTP/1.1\r\nHost: service\r\n\r\n".encode()
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(self, per_second: float, seconds: float) -> Outcome:
        """Send for this time, then wait for all responses."""
        outcome = Outcome(seconds)
        started, tasks = time.perf_counter(), set[asyncio.Task[None]]()
        for number in range(int(per_second * seconds)):
            await asyncio.sleep(max(0.0, started + number / per_second - time.perf_counter()))
            task = asyncio.create_task(self._ask(outcome))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()
        return outcome

    async def _ask(self, outcome: Outcome) -> None:
        started = time.perf_counter()
        try:
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                status = await self._status()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            status = 0
        outcome.statuses[status] += 1
        outcome.good += status == 200 and time.perf_counter() - started <= IN_TIME_SECONDS

    async def _status(self) -> int:
        reader, writer = (
            self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        )
        try:
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1])
