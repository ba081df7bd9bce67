"""The machine of a run, and the versions of what it measured."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

from benchmarks.base.load import WRK
from benchmarks.base.processes import CORES, LOAD_CORES, SERVER_CORES
from benchmarks.base.servers import NGINX
from tests.support.mariadb import PROGRAM

PACKAGES = ("uvicorn", "uvloop", "httptools", "fastapi", "sqlalchemy", "sqlmodel", "aiomysql", "aiosqlite", "pydantic")


def processor() -> str:
    """Model and number of cores."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def describe() -> str:
    """Machine, kernel and versions as two sentences."""
    python = [f"Python {platform.python_version()}", *(f"{name} {metadata.version(name)}" for name in PACKAGES)]
    programs = [
        *(_version("MariaDB", PROGRAM, "--version")),
        *(_version("nginx", NGINX, "-v")),
        *(_version("wrk", WRK, "--version")),
    ]
    return f"{processor()}; Linux {platform.release()}; {', '.join([*python, *programs])}."


def _version(name: str, program: str | None, option: str) -> list[str]:
    if program is None:
        return []
    done = subprocess.run([program, option], capture_output=True, text=True, check=False)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return [f"{name} {found[0]}"] if found else []


def placement() -> str:
    """The cores of servers and load."""
    if SERVER_CORES == LOAD_CORES:
        return "This machine has one core, which servers and load share."
    loaders = ", ".join(map(str, sorted(LOAD_CORES)))
    return (
        f"Of {len(CORES)} cores, core {min(SERVER_CORES)} is for the measured servers only; "
        f"wrk, MariaDB and the fake upstream use {loaders}. "
        "In the part workers the servers use all cores."
    )
