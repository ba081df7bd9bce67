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


class ServiceProcess:
    """``uvicorn app.main:app`` with these settings, on a free port of loopback, which it keeps when it starts again."""

    application = "app.main:app"

    def __init__(self, folder: Path, **settings: object) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / f"service-{self.port}.log"
        given = {name.upper(): str(value) for name, value in settings.items()}
        # Only what a process needs, so that no setting of this machine gets in.
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "REFRESH_ON_START": "never", **given}
        self.folder = folder

    def command(self) -> list[str]:
        return [sys.executable, "-m", "uvicorn", self.application, "--port", str(self.port), "--no-access-log"]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start, and wait until it answers; what does not answer is killed."""
        with self.log.open("w") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220  # it starts in a moment, and outlives this call
                self.command(), cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
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
        """End it in order, also if it is frozen."""
        if self.process.poll() is None:
            self.process.terminate()
            self.thaw()
        await asyncio.to_thread(self.process.wait, 15)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def freeze(self) -> None:
        """Stop every thread of it; it has stopped when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)


class ServedProcess(ServiceProcess):
    """``python -m app serve``: what runs in production, with its migrations, its workers and its limits on a stop."""

    def command(self) -> list[str]:
        self.environment["PORT"] = str(self.port)
        return [sys.executable, "-m", "app", "serve"]
