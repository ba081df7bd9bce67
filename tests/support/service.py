"""The service in a separate process, for tests that stop or kill it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

import httpx

from tests.support.mariadb import free_port

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
"""Far more than a start takes, for machines that are busy."""


def environment(**settings: object) -> dict[str, str]:
    """What a process needs, with these settings and none of this machine's."""
    changes = {name.upper(): str(value) for name, value in settings.items()}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **changes}


class ServiceProcess:
    """``uvicorn app.main:app`` with these settings, on a free port of loopback that stays the same after a restart."""

    application = "app.main:app"

    def __init__(self, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"service-{self.port}.log"
        self.environment = environment(**{"refresh_on_start": "never", **settings})
        self.folder = folder

    def command(self) -> list[str]:
        return [sys.executable, "-m", "uvicorn", self.application, "--port", str(self.port), "--no-access-log"]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def launch(self) -> None:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command(), cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )

    async def start(self) -> None:
        """Start, and wait until it answers; a process that does not is killed."""
        self.launch()
        try:
            await self._until_it_answers()
        except BaseException:
            self.kill()
            raise

    async def _until_it_answers(self) -> None:
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(base_url=self.url) as client:
            while True:
                try:
                    await client.get("/health/live")
                except httpx.TransportError:
                    assert self.process.poll() is None, self.log.read_text()
                    await asyncio.sleep(0.05)
                else:
                    return

    async def stop(self) -> None:
        """Stop it with SIGTERM, even if it is frozen."""
        if self.process.poll() is None:
            self.process.terminate()
            self.thaw()
        await asyncio.to_thread(self.process.wait, 15)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Stop every thread; they have stopped when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class ServedProcess(ServiceProcess):
    """``python -m app serve``, as in production: with migrations, workers and time limits on stopping."""

    def command(self) -> list[str]:
        self.environment["PORT"] = str(self.port)
        return [sys.executable, "-m", "app", "serve"]
