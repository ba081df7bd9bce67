"""Many simultaneous clients over real sockets, half of which hang up before the response."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import urlsplit

LONGEST_PATIENCE_SECONDS: Final = 0.05
"""Longest time before a client hangs up."""
ANSWER_SECONDS: Final = 60


class Request(NamedTuple):
    method: str
    path: str
    body: str = ""
    """JSON; empty for none."""


@dataclass
class Tally:
    """Results of the requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    hung_up: int = 0
    """Connections closed by the client before the first byte of the response."""
    problems: Counter[str] = field(default_factory=Counter)
    """Responses other than success, 404, and 503 with Retry-After."""

    def judge(self, request: Request, answer: bytes) -> None:
        """Count a complete response, given as raw bytes."""
        head = answer.partition(b"\r\n\r\n")[0].decode("latin-1").lower()
        words = head.split(maxsplit=2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        self.statuses[status] += 1
        if not (200 <= status < 300 or status == 404 or (status == 503 and "\r\nretry-after: " in head)):
            self.problems[f"{request.method} {request.path} -> {status or 'no answer'}"] += 1


async def load(url: str, requests: Sequence[Request], *, clients: int, rest_seconds: float) -> Tally:
    """Deal the requests to simultaneous clients, each over a connection of its own; every second client hangs up.

    Clients that hang up rest before each request, or they would finish long before the others.
    """
    tally, port = Tally(), urlsplit(url).port or 80
    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            rest = rest_seconds if number % 2 else None
            group.create_task(_send_each(port, requests[number::clients], tally, rest))
    return tally


async def _send_each(port: int, requests: Sequence[Request], tally: Tally, rest_seconds: float | None) -> None:
    """Send the requests; with a rest before each, hang up on them."""
    for request in requests:
        patience, number = float(ANSWER_SECONDS), -1
        if rest_seconds is not None:
            await asyncio.sleep(random.uniform(0, rest_seconds))
            patience, number = random.uniform(0, LONGEST_PATIENCE_SECONDS), 1
        reader, writer = await _send(port, request)
        answer = b""
        try:
            async with asyncio.timeout(patience):
                answer = await reader.read(number)
        except (TimeoutError, ConnectionError):
            tally.hung_up += rest_seconds is not None
        if rest_seconds is None:
            writer.close()
            tally.judge(request, answer)
        else:
            writer.transport.abort()


async def _send(port: int, request: Request) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"{request.method} {request.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    body = request.body.encode()
    about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
    writer.write(f"{head}{about}\r\n".encode() + body)
    return reader, writer
