"""Reads documents from lines of JSON, and hands those of a stream on in batches: no memory grows with their number."""

import asyncio
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from pydantic import ValidationError

from app.core.errors import DatabaseUnavailable, ValidationFailed
from app.core.http.problems import describe_invalid
from app.tracking.schemas import MAX_DOCUMENTS, DocumentInput

LONGEST_LINE: Final = 131_072
"""Bytes."""
LARGEST_BATCH: Final = 4 * 2**20
"""Bytes; long lines make smaller batches."""

Store = Callable[[list[DocumentInput]], Awaitable[None]]


class LineSplitter:
    """Cuts chunks of bytes into lines, and counts them."""

    def __init__(self) -> None:
        self.number = 0
        self._rest = b""

    def feed(self, chunk: bytes, *, is_last: bool = False) -> list[tuple[int, bytes]]:
        """The lines that are whole now, without the blank ones, each with its number, from 1 on.

        The mark that some programs put in front of a text in UTF-8 is no part of the first line.

        Raises:
            ValidationFailed: A line is too long.
        """
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        if is_last:
            whole, self._rest = [*whole, self._rest], b""
        found = []
        for line in whole:
            self.number += 1
            if self.number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901
            if len(line) > LONGEST_LINE:
                raise ValidationFailed({f"line {self.number}": f"must have at most {LONGEST_LINE} bytes"})
            if line.strip():
                found.append((self.number, line))
        if len(self._rest) > LONGEST_LINE:
            raise ValidationFailed({f"line {self.number + 1}": f"must have at most {LONGEST_LINE} bytes"})
        return found


async def store_stream(chunks: AsyncIterator[bytes], store: Store) -> tuple[int, int]:
    """Read a stream to its end and store what is in it, a batch at a time.

    Returns:
        How many documents were stored, and in how many batches.

    Raises:
        ValidationFailed: A line can't be used; the details name it and say how many documents were stored before.
        DatabaseUnavailable: From ``store``; the details say that as well.
    """
    splitter, size, stored, batches = LineSplitter(), 0, 0, 0
    waiting: list[tuple[int, bytes]] = []

    async def flush() -> None:
        nonlocal waiting, size, stored, batches
        documents = await asyncio.to_thread(_parse, waiting)
        await store(documents)
        stored, batches = stored + len(documents), batches + 1
        waiting, size = [], 0

    try:
        async for chunk in chunks:
            for number, line in splitter.feed(chunk, is_last=not chunk):
                waiting.append((number, line))
                size += len(line)
                if len(waiting) == MAX_DOCUMENTS or size >= LARGEST_BATCH:
                    await flush()
        if waiting:
            await flush()
        elif not batches:
            await store([])  # so that also a stream without a line is told that there is no transfer
    except ValidationFailed as error:
        details = error.details if isinstance(error.details, dict) else {}
        raise ValidationFailed({**details, "stored": f"{stored} document(s) of the lines before"}) from error
    except DatabaseUnavailable as error:
        error.details = f"{error.details}; stored: {stored} document(s) of the lines before"
        raise
    return stored, batches


def _parse(lines: list[tuple[int, bytes]]) -> list[DocumentInput]:
    # Each by itself: several lines may make sense together that make none alone, and as one list they take as long.
    return [parse_line(number, line) for number, line in lines]


def parse_line(number: int, line: bytes) -> DocumentInput:
    """Read one document.

    Raises:
        ValidationFailed: It can't be used; the details name the line.
    """
    try:
        return DocumentInput.model_validate_json(line)
    except ValidationError as error:
        problems = describe_invalid(error, what="line")
        told = {f"line {number}" if name == "line" else f"line {number}: {name}": why for name, why in problems.items()}
        raise ValidationFailed(told) from error
