"""Invisible characters, and one-line texts without them."""

import re
import unicodedata
from typing import Final

_CONTROL: Final = r"\x00-\x1f\x7f-\x9f"
_HIDDEN: Final = (
    r"\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb"
)
"""Format characters, among them those that change the direction of text, line separators and invisible letters."""
_TAGS: Final = "\U000e0000-\U000e0fff"
_JOINERS: Final = r"\u200c\u200d"
"""Zero-width joiners: Persian, Indic and other scripts need them, and emoji are combined with them."""
_JOINED: Final = r"\u0620-\u1cff\u2190-\u2bff\ua840-\uabff\ufe0f\U0001f000-\U0001faff"
"""Characters of such scripts, and emoji. Latin, Greek, Cyrillic and Hebrew do not use joiners."""
_IN_NO_NAME: Final = re.compile(
    f"[{_CONTROL}{_HIDDEN}{_TAGS}]|(?<![{_JOINED}])[{_JOINERS}]|[{_JOINERS}](?![{_JOINED}])"
)
_NEVER: Final = f"{_CONTROL}{_HIDDEN}{_TAGS}{_JOINERS}"
SHOWN_LINE: Final = rf"^\s*[^\s{_NEVER}]([^{_NEVER}]*[^\s{_NEVER}])?\s*$"
"""For the OpenAPI document, a little stricter than the service: not blank, nothing hidden, blanks around it allowed."""


def shown_line(text: str) -> str:
    """Strip a one-line text, and make sure that all of it is visible.

    Raises:
        ValueError: It is blank, or contains invisible characters: such names imitate others, reverse the text
            after them or forge log lines.
    """
    line = text.strip()
    if not line:
        raise ValueError("must not be blank")
    found = None if line.isascii() and line.isprintable() else _IN_NO_NAME.search(line)
    if found is None:
        return line
    if unicodedata.category(found.group()) == "Cc":
        raise ValueError("must not contain control characters")
    raise ValueError(f"must not contain characters that can't be seen, such as U+{ord(found.group()):04X}")


def visible_line(text: str) -> str:
    """Remove what ``shown_line()`` refuses, for texts whose authors can't be asked; empty if nothing can be seen.

    Line breaks and tabs become spaces.
    """
    if text.isascii() and text.isprintable():
        return text.strip()
    return _IN_NO_NAME.sub(lambda found: " " if found.group().isspace() else "", text).strip()
