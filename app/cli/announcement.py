"""What a person may open, told at the moment when it can be opened."""

import logging
from collections.abc import Sequence
from typing import Final, cast

from app.cli.terminal import errors

_UVICORN: Final = logging.getLogger("uvicorn.error")
_ALL_ADDRESSES: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound
"""What can be opened where a server listens on all."""


def announce_when_open() -> None:
    """Print the addresses of page and documentation in place of uvicorn's line that it listens.

    Of several processes none listens yet then, but they will in a moment, and the port is theirs.
    """
    _UVICORN.setLevel(logging.INFO)
    _UVICORN.addFilter(_announce)


def _announce(record: logging.LogRecord) -> bool:
    """Whether the line is to be logged."""
    # What keeps it from listening is an exception in place of a text.
    if not str(record.msg).startswith("Uvicorn running on %s://"):
        return record.levelno >= logging.root.level
    _, host, port = cast(Sequence[object], record.args)
    shown = _ALL_ADDRESSES.get(str(host), str(host))
    place = f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
    page, docs = f"{place}/", f"{place}/docs"
    errors.print(f"\nOpen  {page:<{len(docs)}}  the countries\n      {docs}  the API, to try out\n", soft_wrap=True)
    return False
