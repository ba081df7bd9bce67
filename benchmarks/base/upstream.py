"""A fake upstream as a separate process, so that serving does not slow down the measuring process.

It answers ``/<file>`` with a file of a folder, read on each request.
"""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.base.processes import LOAD_CORES, running, wait_until_listening
from tests.support import payloads
from tests.support.mariadb import free_port
from tests.support.service import environment
from tests.support.upstream import Answer, FakeUpstream, Request, body

COUNTRIES, RATES = "countries.json", "rates.json"


class Upstream:
    """The folder that the fake upstream reads, and its address."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.settings: dict[str, Any] = {
            "country_sources": f"{self.url}/{COUNTRIES}",
            "rate_sources": f"{self.url}/{RATES}",
        }
        """Settings of a service that uses this upstream."""

    def tell(self, file: str, payload: Any) -> None:
        """Answer with this payload from now on; the file is replaced in one step."""
        fresh = self.folder / f"{file}.new"
        fresh.write_text(json.dumps(payload))
        fresh.replace(self.folder / file)


@contextmanager
def fake_upstream(folder: Path) -> Iterator[Upstream]:
    """An upstream with the 250 bundled countries and the bundled rates."""
    port = free_port()
    upstream = Upstream(folder, port)
    upstream.tell(COUNTRIES, payloads.v3_1())
    upstream.tell(RATES, payloads.er_api())
    command = [sys.executable, "-m", "benchmarks.base.upstream", str(folder), str(port)]
    with running(command, folder, environment(), cores=LOAD_CORES) as process:
        wait_until_listening(process, port)
        yield upstream


def _file(path: Path) -> Answer:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await body(await asyncio.to_thread(path.read_bytes))(request, writer)

    return answer


async def _serve(folder: Path, port: int) -> None:
    answers = {f"/{name}": _file(folder / name) for name in (COUNTRIES, RATES)}
    async with FakeUpstream(port=port, answers=answers):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
