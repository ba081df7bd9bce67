"""The results in docs/performance.md: each part replaces the section between its two marks."""

import re
from pathlib import Path

from tests.support.service import ROOT

PAGE = ROOT / "docs/performance.md"


def write_section(page: Path, name: str, content: str) -> None:
    """Replace the content of a section in a file.

    Raises:
        ValueError: The page has no such marks.
    """
    page.write_text(replace_section(page.read_text("utf-8"), name, content), encoding="utf-8")


def replace_section(text: str, name: str, content: str) -> str:
    """The text with new content between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises:
        ValueError: The text has no such marks.
    """
    marks = (f"<!-- {name} -->", f"<!-- /{name} -->")
    pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
    # A function, because backslashes in a replacement text are escapes.
    replaced, times = pattern.subn(lambda _: f"{marks[0]}\n\n{content}\n\n{marks[1]}", text)
    if times != 1:
        raise ValueError(f"the page must have the marks of {name} once, has them {times} times")
    return replaced
