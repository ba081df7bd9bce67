"""Load on one URL, by wrk."""

import math
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.base.process_figures import processor_seconds

WRK = shutil.which("wrk")
CONNECTIONS = 16
WARM_UP_SECONDS = 1
"""The shortest time that wrk accepts."""


class LoadFailed(Exception):
    """Some requests failed, so their number means nothing."""


@dataclass(frozen=True)
class Target:
    """A URL and headers to send."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    """The process that answers; None if it is unknown or there are several."""
    script: Path | None = None
    """In Lua, for wrk, to change each request; None sends always the same."""


class Turn(NamedTuple):
    """Result of one contender in one round."""

    rate: float
    """Requests per second."""
    cost: float
    """Microseconds of processor time per request in the server; NaN if its process is unknown."""


def requests_per_second(target: Target, *, seconds: int) -> float:
    """Load a target as fast as it answers, over open connections.

    Raises:
        LoadFailed: wrk had errors, or responses other than 2xx and 3xx.
    """
    command = [str(WRK), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
    for name, value in target.headers.items():
        command += ["-H", f"{name}: {value}"]
    if target.script is not None:
        command += ["-s", str(target.script)]
    done = subprocess.run([*command, target.url], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(f"wrk on {target.url}: {done.stdout}{done.stderr}")
    return parse_wrk(done.stdout)


def parse_wrk(text: str) -> float:
    """Read requests per second from the output of wrk.

    Raises:
        LoadFailed: It reports errors or no requests.
    """
    for line in text.splitlines():
        if "Socket errors" in line or "Non-2xx or 3xx" in line:
            raise LoadFailed(f"wrk: {line.strip()}")
    found = re.search(r"^Requests/sec:\s*([\d.]+)$", text, re.MULTILINE)
    if found is None or float(found[1]) == 0:
        raise LoadFailed(f"wrk counted no requests: {text.strip()[:200]}")
    return float(found[1])


def compare(targets: Mapping[str, Target], *, rounds: int, seconds: int) -> dict[str, list[Turn]]:
    """Load the targets in turn, A B C A B C, so that other load on the machine affects all of them.

    Returns:
        The turns of each target, one per round.
    """
    for target in targets.values():
        requests_per_second(target, seconds=WARM_UP_SECONDS)
    measured: dict[str, list[Turn]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            before = _processor_seconds(target.pid)
            rate = requests_per_second(target, seconds=seconds)
            used = _processor_seconds(target.pid) - before
            measured[name].append(Turn(rate, used / (rate * seconds) * 1e6))
    return measured


def _processor_seconds(pid: int | None) -> float:
    return math.nan if pid is None else processor_seconds(pid)


def rates(turns: Sequence[Turn]) -> list[float]:
    """Requests per second of each turn."""
    return [turn.rate for turn in turns]


def costs(turns: Sequence[Turn]) -> list[float]:
    """Microseconds of processor time per request of each turn."""
    return [turn.cost for turn in turns]
