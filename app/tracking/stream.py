"""Reads documents from lines of JSON, and stores a stream in batches, in constant memory."""

import asyncio
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from pydantic import ValidationError

from app.core.errors import DatabaseUnavailable, Unauthorized, ValidationFailed
from app.core.problems import describe_invalid
from app.tracking.schemas import MAX_DOCUMENTS, DocumentInput

MAX_LINE: Final = 131_072
"""Bytes."""
MAX_BATCH: Final = 4 * 2**20
"""Bytes. Long lines make smaller batches than ``MAX_DOCUMENTS``."""

Store = Callable[[list[DocumentInput]], Awaitable[None]]


class LineSplitter:
    """Splits chunks of bytes into numbered lines."""

    def __init__(self) -> None:
        self.number = 0
        self._rest = b""

    def feed(self, chunk: bytes, *, is_last: bool = False) -> list[tuple[int, bytes]]:
        """Return the lines that this chunk completes, except blank ones, as (number, line); numbers start at 1.

        A byte order mark at the start is removed.

        Raises:
            ValidationFailed: A line is longer than ``MAX_LINE``.
        """
        *complete, self._rest = (self._rest + chunk).split(b"\n")
        if is_last:
            complete, self._rest = [*complete, self._rest], b""
        lines = []
        for line in complete:
            self.number += 1
            if self.number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901
            if len(line) > MAX_LINE:
                raise ValidationFailed({f"line {self.number}": f"must have at most {MAX_LINE} bytes"})
            if line.strip():
                lines.append((self.number, line))
        if len(self._rest) > MAX_LINE:
            raise ValidationFailed({f"line {self.number + 1}": f"must have at most {MAX_LINE} bytes"})
        return lines


async def store_stream(chunks: AsyncIterator[bytes], store: Store) -> tuple[int, int]:
    """Read the documents of a stream, and store them in batches.

    Args:
        chunks: The stream; an empty chunk ends it.
        store: Stores a batch; also called once for an empty stream, to check the transfer.

    Returns:
        Number of documents stored, and number of batches.

    Raises:
        ValidationFailed: A line is invalid; the details name it, and the number of documents stored before.
        DatabaseUnavailable: From ``store``; the details name that number as well.
        Unauthorized: The same, if the caller's credential ended during the stream.
    """
    splitter, size, stored, batches = LineSplitter(), 0, 0, 0
    waiting: list[tuple[int, bytes]] = []

    async def flush() -> None:
        nonlocal waiting, size, stored, batches
        # One by one: joined to one JSON array, lines that are invalid alone could be valid together.
        documents = await asyncio.to_thread(lambda: [parse_line(number, line) for number, line in waiting])
        await store(documents)
        stored, batches = stored + len(documents), batches + 1
        waiting, size = [], 0

    try:
        async for chunk in chunks:
            for number, line in splitter.feed(chunk, is_last=not chunk):
                waiting.append((number, line))
                size += len(line)
                if len(waiting) == MAX_DOCUMENTS or size >= MAX_BATCH:
                    await flush()
        if waiting:
            await flush()
        elif not batches:
            await store([])
    except ValidationFailed as error:
        details = error.details if isinstance(error.details, dict) else {}
        raise ValidationFailed({**details, "stored": f"{stored} document(s) from earlier lines"}) from error
    except (DatabaseUnavailable, Unauthorized) as error:
        error.details = f"{error.details}; stored: {stored} document(s) from earlier lines"
        raise
    return stored, batches


def parse_line(number: int, line: bytes) -> DocumentInput:
    """Parse one document; raises ValidationFailed with details that name the line."""
    try:
        return DocumentInput.model_validate_json(line)
    except ValidationError as error:
        problems = describe_invalid(error, what="line")
        raise ValidationFailed(
            {f"line {number}" if name == "line" else f"line {number}: {name}": why for name, why in problems.items()}
        ) from error
