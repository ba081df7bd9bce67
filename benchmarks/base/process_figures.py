"""Resources of a process, as Linux reports them."""

import time
from pathlib import Path
from typing import Final

MEGABYTE: Final = 1_000_000


def resident(pid: int, *, unit: int = MEGABYTE) -> float:
    """Resident memory, in MB by default.

    Raises:
        FileNotFoundError: The process has ended.
    """
    return _status(pid, "VmRSS") * 1024 / unit


def peak(pid: int, *, unit: int = MEGABYTE) -> float:
    """Largest resident memory since ``forget_peak()`` or the start, in MB by default.

    Raises:
        FileNotFoundError: The process has ended.
    """
    return _status(pid, "VmHWM") * 1024 / unit


def forget_peak(pid: int) -> None:
    """Restart the measurement of ``peak()``."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def processor_seconds(pid: int) -> float:
    """Processor time of all its threads since its start, to the nanosecond.

    Raises:
        OSError: The process has ended.
    """
    # clock_getcpuclockid(3), which Python lacks for other processes; /proc counts in steps of 10 ms.
    return time.clock_gettime(~pid << 3 | 2)


def threads(pid: int) -> int:
    """Number of threads."""
    return _status(pid, "Threads")


def open_files(pid: int) -> int:
    """Number of descriptors: files, sockets and pipes."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise FileNotFoundError(f"process {pid} has ended")
