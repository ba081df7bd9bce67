"""Processes that a benchmark starts: on chosen cores, and always ended by their own id."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.base.interrupts import uninterrupted

ROOT = Path(__file__).resolve().parents[2]
CORES = sorted(os.sched_getaffinity(0))
SERVER_CORES = {CORES[0]}
LOAD_CORES = set(CORES[1:]) or {CORES[0]}
START_SECONDS = 30
STOP_SECONDS = 15


class ProcessDied(Exception):
    """A process ended, or did not listen in time; the text is what it wrote."""


def keep_to_load_cores() -> None:
    """Leave the first core to the servers: what this process starts from now on inherits its cores."""
    os.sched_setaffinity(0, LOAD_CORES)


def environment(**settings: object) -> dict[str, str]:
    """Only what a process needs, so that no setting of this machine gets in."""
    given = {name.upper(): str(value) for name, value in settings.items()}
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **given}


@contextmanager
def running(
    command: Sequence[str], folder: Path, env: Mapping[str, str], *, cores: set[int]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the length of the block; what it writes goes to ``<name>.log`` in the folder."""
    log, process = _log_of(folder), None
    try:
        with uninterrupted():
            process = _start(command, folder, env, cores, log)
        yield process
    except ProcessDied as error:
        raise ProcessDied(f"{error}\n{log.read_text(errors='replace')[-2000:]}") from error
    finally:
        if process is not None:
            with uninterrupted():
                _end(process)


@contextmanager
def _on_cores(cores: set[int]) -> Iterator[None]:
    # Set before the start, not after: a process and all its threads and children inherit it.
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _log_of(folder: Path) -> Path:
    return folder / f"process-{len(list(folder.glob('process-*.log')))}.log"


def _start(
    command: Sequence[str], folder: Path, env: Mapping[str, str], cores: set[int], log: Path
) -> subprocess.Popen[bytes]:
    with _on_cores(cores), log.open("wb") as out:
        # A session of its own: Ctrl-C reaches us alone, and we end the process in our order.
        return subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its own session, so its workers too
        process.wait()


def wait_until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a port of loopback takes connections.

    Raises:
        ProcessDied: The process ended first, or took too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise ProcessDied(f"{process.args!r} does not listen on {port}") from None
            time.sleep(0.02)


def peak_of_run(
    command: Sequence[str], folder: Path, env: Mapping[str, str], *, cores: set[int] = LOAD_CORES
) -> tuple[str, float]:
    """Run a command that has to succeed.

    Returns:
        What it wrote to standard output, and the most memory that it had, in MiB.

    Raises:
        ProcessDied: It failed.
    """
    timed = [sys.executable, "-m", "benchmarks.base.peak", *command]
    *out, peak = run_to_end(timed, folder, env, cores=cores).splitlines()
    return "\n".join(out), float(peak)


def run_to_end(command: Sequence[str], folder: Path, env: Mapping[str, str], *, cores: set[int] = LOAD_CORES) -> str:
    """Run a command that has to succeed.

    Returns:
        What it wrote to standard output.

    Raises:
        ProcessDied: It failed.
    """
    with _on_cores(cores):
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessDied(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
