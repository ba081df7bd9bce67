"""Load on one URL, by wrk."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

WRK = shutil.which("wrk")
CONNECTIONS = 16
WARM_UP_SECONDS = 1
"""The shortest time that wrk takes; it knows whole seconds only."""


class LoadFailed(Exception):
    """Some of the requests had no good answer, so their number says nothing."""


@dataclass(frozen=True)
class Target:
    """A URL and the headers to ask it with."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    """The one process that answers; None where it is not known or there are several."""


class Turn(NamedTuple):
    """What one contender did while it was asked."""

    rate: float
    """Requests per second."""
    cost: float
    """Microseconds of processor time that a request took the server; not a number where its process is not known."""


def requests_per_second(target: Target, *, seconds: int) -> float:
    """Ask a target as fast as it answers, over connections that stay open.

    Raises:
        LoadFailed: wrk had errors, or answers other than 2xx and 3xx.
    """
    command = [str(WRK), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s"]
    for name, value in target.headers.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run([*command, target.url], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadFailed(f"wrk on {target.url}: {done.stdout}{done.stderr}")
    return parse_wrk(done.stdout)


def parse_wrk(text: str) -> float:
    """Read requests per second from what wrk wrote.

    Raises:
        LoadFailed: It tells of errors, or of no requests at all.
    """
    for line in text.splitlines():
        if "Socket errors" in line or "Non-2xx or 3xx" in line:
            raise LoadFailed(f"wrk: {line.strip()}")
    found = re.search(r"^Requests/sec:\s*([\d.]+)$", text, re.MULTILINE)
    if found is None or float(found[1]) == 0:
        raise LoadFailed(f"wrk counted no requests: {text.strip()[:200]}")
    return float(found[1])


def compare(targets: Mapping[str, Target], *, rounds: int, seconds: int) -> dict[str, list[Turn]]:
    """Load the targets in turn, A B C A B C, so that whatever the machine does meanwhile hits all of them.

    Returns:
        The turns of each target, one a round.
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
    if pid is None:
        return math.nan
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rates(turns: Sequence[Turn]) -> list[float]:
    """Requests per second, turn by turn."""
    return [turn.rate for turn in turns]


def costs(turns: Sequence[Turn]) -> list[float]:
    """Microseconds of the server's processor time for a request, turn by turn."""
    return [turn.cost for turn in turns]
