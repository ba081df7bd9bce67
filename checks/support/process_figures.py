"""Resources of a process, as Linux reports them."""

from pathlib import Path
from typing import Final

MEGABYTE: Final = 1_000_000


def resident(pid: int) -> float:
    """Resident memory in MB."""
    return _status(pid, "VmRSS") * 1024 / MEGABYTE


def peak(pid: int) -> float:
    """Largest resident memory since ``forget_peak()``, in MB."""
    return _status(pid, "VmHWM") * 1024 / MEGABYTE


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def threads(pid: int) -> int:
    return _status(pid, "Threads")


def open_files(pid: int) -> int:
    """Descriptors: files, sockets and pipes."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
