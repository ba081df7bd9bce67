"""Summaries with their pictures, drawn one at a time in a thread."""

import asyncio
import threading
from dataclasses import dataclass
from typing import Final

from app.countries.summary import Summary

_ONE_AT_A_TIME: Final = threading.Lock()
"""Held while drawing: Pillow is synchronous, and several drawings at once would only take turns."""


@dataclass(frozen=True)
class Drawing:
    """A summary and its picture."""

    summary: Summary
    image: bytes
    """PNG."""


async def draw(summary: Summary, *, existing: Drawing | None = None) -> Drawing:
    """Draw a summary in a thread, or return an existing drawing of an equal summary."""
    if existing is not None and existing.summary == summary:
        return existing

    def render() -> bytes:
        from app.countries.picture import render_summary  # noqa: PLC0415  # imports Pillow: 8 ms and 4 MB of a start

        with _ONE_AT_A_TIME:
            return render_summary(summary)

    return Drawing(summary, await asyncio.to_thread(render))
