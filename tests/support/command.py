"""``python -m app`` within the tests' own process: one of its own takes a second to start."""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from typer.testing import CliRunner

from app.cli.app import cli

ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    code: int | None
    out: str
    err: str


async def run(*arguments: str, **settings: str) -> Run:
    """In a thread, because commands start an event loop of their own."""
    call = partial(CliRunner().invoke, cli, arguments, env=settings, prog_name="python -m app")
    result = await asyncio.to_thread(call)
    return Run(result.exit_code, result.stdout_bytes.decode(), result.stderr)


async def start(folder: Path, *arguments: str, **settings: str) -> asyncio.subprocess.Process:
    """The real thing, with these settings and no others."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", *arguments),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
