"""Load on one URL, by wrk."""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

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


def compare(targets: Mapping[str, Target], *, rounds: int, seconds: int) -> dict[str, list[float]]:
    """Load the targets in turn, A B C A B C, so that whatever the machine does meanwhile hits all of them.

    Returns:
        Requests per second of each target, one value a round.
    """
    for target in targets.values():
        requests_per_second(target, seconds=WARM_UP_SECONDS)
    measured: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            measured[name].append(requests_per_second(target, seconds=seconds))
    return measured
