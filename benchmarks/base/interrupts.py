"""Signals that end a run: never in the middle of starting or ending a process, which would then be left behind."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_held: list[bool] = []
_pending: list[int] = []


def end_on_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP unwind the run, so that everything started is ended."""
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
    """Put signals off until the end of the block."""
    _held.append(True)
    try:
        yield
    finally:
        _held.pop()
        if _pending and not _held:
            _end_run(_pending.pop())
