"""Commands: ``python -m app`` in the process of the tests or in another one, and commands that serve."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from app.cli.app import cli

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = {"COUNTRY_SOURCES": "bundled", "RATE_SOURCES": "bundled"}
START_SECONDS = 60
"""Far more than a start takes, for machines that are busy."""


class Run(NamedTuple):
    code: int | None
    out: str
    err: str


async def run(*arguments: str, typed: str = "", **settings: str) -> Run:
    """Run ``python -m app`` in this process, because another one takes a second to start.

    It runs in a thread, because commands start an event loop.
    """
    call = partial(CliRunner().invoke, cli, arguments, input=typed, env=settings, prog_name="python -m app")
    result = await asyncio.to_thread(call)
    return Run(result.exit_code, result.stdout_bytes.decode(), result.stderr)


async def start(folder: Path, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
    """Start ``python -m app`` as a process, with these settings and no others."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *arguments),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@contextmanager
def served(
    command: list[str], folder: Path, environment: Mapping[str, str], log: Path, *, is_ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command that serves, wait until it is ready, and kill it at the end."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield server
    finally:
        server.kill()
        server.wait()
