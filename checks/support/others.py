"""What other clients and the machine notice while somebody attacks: delays of a small request, and memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.service import ServiceProcess

_REQUEST: Final = b"GET /health/live HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n"
_PAUSE_SECONDS: Final = 0.02


@dataclass
class Others:
    """What was noticed."""

    requests: int = 0
    slowest: float = 0.0
    """Seconds of the slowest request."""
    grown: float = 0.0
    """MiB by which the process's memory grew at most."""

    @property
    def text(self) -> str:
        return f"others waited at most {self.slowest * 1000:.0f} ms, memory +{self.grown:.0f} MiB"


@asynccontextmanager
async def noticing(service: ServiceProcess) -> AsyncIterator[Others]:
    """Ask on a new connection every 20 ms while the block runs."""
    others, start = Others(), memory(service)
    task = asyncio.create_task(_notice(service, others, start))
    await asyncio.sleep(0.2)
    try:
        yield others
    finally:
        await asyncio.sleep(0.2)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _notice(service: ServiceProcess, others: Others, start: float) -> None:
    while True:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(_REQUEST)
        answer = await reader.read()
        writer.close()
        others.requests += 1
        others.slowest = max(others.slowest, time.monotonic() - began)
        others.grown = max(others.grown, memory(service) - start)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise AssertionError(f"the service answered others {answer[:100]!r}")
        await asyncio.sleep(_PAUSE_SECONDS)


def memory(service: ServiceProcess) -> float:
    """Resident memory of the process in MiB."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
