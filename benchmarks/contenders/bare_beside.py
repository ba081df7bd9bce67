"""The bare function in a process that has imported the service, with the same memory layout."""

import app.main as _  # noqa: F401  # only for its size
from benchmarks.contenders.bare import app

__all__ = ["app"]
