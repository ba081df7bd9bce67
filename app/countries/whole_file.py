"""A file that is there whole or not at all."""

import os
from pathlib import Path

from app.core.errors import AppError


class NotWritten(AppError):
    """The file could not be written; what was there before still is."""

    title = "Not written"


def write_file(path: Path, content: bytes) -> None:
    """Write under another name beside the file, and rename: nobody ever sees half of it.

    Raises:
        NotWritten: The reason is in the details.
    """
    target = path.resolve()  # a link stays one
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    if target.exists() and not target.is_file():
        raise NotWritten(f"{path}: is no file")
    try:
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise NotWritten(f"{path}: {error.strerror}") from error
