"""Signals that end a run, but not while a process starts or stops, which would leave it running."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_held: list[bool] = []
_pending: list[int] = []


def end_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP unwind the run, so that all its processes are stopped."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup stays in force
            signal.signal(number, lambda received, _: _end_run(received))


def _end_run(number: int) -> None:
    if _held:
        _pending.append(number)
    else:
        raise SystemExit(128 + number)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay signals until the end of the block."""
    _held.append(True)
    try:
        yield
    finally:
        _held.pop()
        if _pending and not _held:
            _end_run(_pending.pop())
