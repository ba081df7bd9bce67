"""Processes of a benchmark, on chosen cores."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.base import peak
from benchmarks.base.interrupts import uninterrupted

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORES = {CORES[0]}
LOAD_CORES = set(CORES[1:]) or {CORES[0]}
START_SECONDS = 30
STOP_SECONDS = 15


class ProcessDied(Exception):
    """A process ended or did not listen in time; the text is its output."""


def keep_to_load_cores() -> None:
    """Leave the first core to the servers: child processes inherit the cores."""
    os.sched_setaffinity(0, LOAD_CORES)


@contextmanager
def running(
    command: Sequence[str], folder: Path, env: Mapping[str, str], *, cores: set[int]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for the length of the block, with its output in ``process-<number>.log`` in the folder."""
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
    # Set before the start: a process and all its threads and children inherit it.
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
        # A new session: Ctrl-C reaches this process only, which stops the others in order.
        return subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out, start_new_session=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the whole session, with its workers
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


class Finished(NamedTuple):
    """What a command printed and used."""

    out: str
    """Standard output."""
    peak: float
    """Largest resident memory, in MiB."""
    processor_seconds: float
    """Of all its threads, from its start to its end."""


def measured_run(
    command: Sequence[str], folder: Path, env: Mapping[str, str], *, cores: set[int] = LOAD_CORES
) -> Finished:
    """Run a command that must succeed.

    Raises:
        ProcessDied: It failed.
    """
    timed = [sys.executable, peak.__file__, *command]
    *out, most, processor_seconds = run_to_end(timed, folder, env, cores=cores).splitlines()
    return Finished("\n".join(out), float(most), float(processor_seconds))


def run_to_end(command: Sequence[str], folder: Path, env: Mapping[str, str], *, cores: set[int] = LOAD_CORES) -> str:
    """Run a command that must succeed.

    Returns:
        Its standard output.

    Raises:
        ProcessDied: It failed.
    """
    with _on_cores(cores):
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessDied(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
