"""The file ``.env``."""

from pathlib import Path
from typing import Final

NAME: Final = ".env"
ENCODING: Final = "utf-8-sig"
"""UTF-8, with or without a byte order mark."""


def require_utf8(path: Path) -> None:
    """Check the encoding of a file of settings; a file that does not exist is fine.

    Raises:
        ValueError: It is in another encoding, such as UTF-16, or can't be read.
    """
    if not path.is_file():
        return
    try:
        is_text = "\0" not in path.read_text(ENCODING)  # UTF-16 without a byte order mark is full of them
    except OSError as error:
        raise ValueError(f"{path.absolute()}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise ValueError(f"{path.absolute()}: must be saved as UTF-8; it has another encoding, such as UTF-16")
