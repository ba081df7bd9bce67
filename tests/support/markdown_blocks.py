"""The code blocks of the documentation, and what is to be done with each of them."""

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
RUN = {"sh", "python", "javascript"}
"""Languages that are executed."""
OUTPUT = {"json", "text"}
"""Languages of what a block prints; directly behind a block that is executed it must be what that printed."""
CHECKED = {"env", "yaml", "ini", "galera", "haproxy", "nginx"}
"""Languages of configuration, which its own reader must take."""
REASONS = {"Docker", "Railway", "MySQL 8", "PostgreSQL", "systemd", "takes minutes", "needs a network", "illustration"}
"""Why a block may stand unexecuted: ``<!-- not run: illustration -->`` before it."""
MARKER = re.compile(r"<!-- (?:not run: (?P<reason>[^>]+?)|run by (?P<test>(?:tests|checks)/[\w/]+\.py)) -->\s*")


@dataclass
class Block:
    """A fenced or indented block, with the marker in front of it and the output behind it."""

    page: Path
    line: int
    language: str
    content: str
    marker: str | None = None
    output: str | None = None

    def __str__(self) -> str:
        return f"{os.path.relpath(self.page, ROOT)}:{self.line}"

    @property
    def is_run(self) -> bool:
        return self.language in RUN and self.marker is None

    @property
    def is_checked(self) -> bool:
        return self.language in CHECKED and self.marker is None

    @property
    def fault(self) -> str | None:
        """What is wrong with it as it stands; None where it is run, checked, or has a marker that says why not."""
        if not self.language:
            return "has no language"
        if self.marker is None:
            known = self.language in RUN | CHECKED
            return None if known else f"is {self.language} behind nothing that runs, and has no marker"
        found = MARKER.fullmatch(self.marker)
        if found is None:
            return f"has a marker that nobody understands: {self.marker}"
        if found["test"]:
            return None if (ROOT / found["test"]).is_file() else f"names a test that is not there: {found['test']}"
        return None if found["reason"] in REASONS else f"is not run for an unknown reason: {found['reason']}"


def pages() -> list[Path]:
    """Every page that is shown to people."""
    at_root = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    return [*at_root, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page in their order; what one prints is part of it, not a block of its own."""
    blocks: list[Block] = []
    tokens = MarkdownIt().enable("table").parse(page.read_text())
    for before, token in pairwise([None, *tokens]):
        if token is None or token.type not in {"fence", "code_block"}:
            continue
        language, line = token.info.strip(), (token.map or [0])[0] + 1
        marker = before.content.strip() if before and _is_marker(before) else None
        if marker is None and before and before.type == "fence" and language in OUTPUT and blocks[-1].language in RUN:
            blocks[-1].output = token.content
        else:
            blocks.append(Block(page, line, language, token.content, marker))
    return blocks


def _is_marker(token: Token) -> bool:
    return token.type == "html_block" and token.content.lstrip().startswith(("<!-- not run", "<!-- run"))
