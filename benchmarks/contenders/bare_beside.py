"""The bare function in a process that has imported the service: as large, and as scattered in memory."""

import app.main as _  # noqa: F401  # only for its size
from benchmarks.contenders.bare import app

__all__ = ["app"]
