"""What the fields of a request may hold."""

import re
import unicodedata
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

CONTROL: Final = r"\x00-\x1f\x7f-\x9f"
"""Control characters, as the inside of a class of a regular expression."""


HIDDEN: Final = (
    r"\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    r"\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0\ufff9-\ufffb"
)
"""Format characters, among them those that turn the direction of writing, separators of lines, and letters that show
nothing, likewise."""


_TAGS: Final = "\U000e0000-\U000e0fff"


_JOINERS: Final = r"\u200c\u200d"
"""Without width: Persian, Indian and other scripts spell with them, and pictures of families are made by them."""


_JOINED: Final = r"\u0620-\u1cff\u2190-\u2bff\ua840-\uabff\ufe0f\U0001f000-\U0001faff"
"""The characters of such scripts, and pictures. Latin, Greek, Cyrillic and Hebrew have no use for joiners."""


_IN_NO_NAME: Final = re.compile(f"[{CONTROL}{HIDDEN}{_TAGS}]|(?<![{_JOINED}])[{_JOINERS}]|[{_JOINERS}](?![{_JOINED}])")


_NEVER: Final = f"{CONTROL}{HIDDEN}{_TAGS}{_JOINERS}"


SHOWN_LINE: Final = rf"^\s*[^\s{_NEVER}]([^{_NEVER}]*[^\s{_NEVER}])?\s*$"
"""For the OpenAPI document, a little stricter than the service: not blank, and nothing hidden; blanks around it do not
count."""


def shown_line(text: str) -> str:
    """Give back a text as it may be stored: without the blanks around it.

    Raises:
        ValueError: Nothing is left, or there are characters that can't be seen: such names look like others, turn
            around what is shown behind them, or forge lines.
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


_MOST_MISTAKES: Final = 20_000
"""5000 documents of which each field is wrong have 15,000."""


def whole(number: object) -> object:
    """Turn 3.0 into 3: to JSON both are the same number, and some who write it have only one kind of them."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


class Given(BaseModel):
    """A body, or a part of one: a field that is not described is refused, and so are countless mistakes as a whole.

    Each mistake becomes a dictionary before any of them is told: 900,000 unknown
    fields, in a body of 8 MiB, took 1 GB and held up all other requests for six seconds.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_countless_mistakes(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(given)
        except ValidationError as error:
            if error.error_count() <= _MOST_MISTAKES:
                raise
        raise ValueError(f"has more than {_MOST_MISTAKES} mistakes")
