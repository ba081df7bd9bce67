"""Drawing the summary picture without holding up anything else."""

import asyncio
import threading
from dataclasses import dataclass
from typing import Final

from app.countries.summary import Summary
from app.countries.summary_image import render_summary

_ONE_AT_A_TIME: Final = threading.Lock()


@dataclass(frozen=True)
class Drawing:
    """A summary and its picture, which belong together."""

    summary: Summary
    image: bytes
    """PNG."""


async def draw(summary: Summary, *, at_hand: Drawing | None = None) -> Drawing:
    """Draw a summary off the event loop, or take the drawing at hand if it shows the same."""
    if at_hand is not None and at_hand.summary == summary:
        return at_hand
    return Drawing(summary, await asyncio.to_thread(_render, summary))


def _render(summary: Summary) -> bytes:
    with _ONE_AT_A_TIME:
        return render_summary(summary)
