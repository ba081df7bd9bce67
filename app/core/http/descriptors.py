"""File descriptors, of which each connection takes one."""

import math
import sys
from contextlib import suppress
from typing import Final

if sys.platform != "win32":
    import resource

_RESERVED: Final = 100
"""What connections leave to the database, the sources, and the service itself."""


def raise_limit() -> None:
    """Let this process and its children open as many files, and so connections, as the system allows them."""
    if sys.platform != "win32":
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError):  # macOS has a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_connections() -> float:
    """How many connections may be open at once; infinite where the system has no limit."""
    if sys.platform == "win32":
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if soft == resource.RLIM_INFINITY else max(1, soft - _RESERVED)
