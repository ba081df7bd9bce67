"""Sends documents to the service: in batches, in one stream, or one at a time; the memory does not grow with them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from urllib.parse import urlsplit

from benchmarks.load import LoadFailed
from benchmarks.tracking_rows import BATCH, as_json, batches

IN_FLIGHT: Final = 4
"""Requests at the same time, each on a connection of its own."""
TRANSFER: Final = (
    '{{"UBID":"{ubid}","SMScount":{documents},"documents":{documents},"fileName":"load.csv","origName":"load.csv"}}'
)
Progress = Callable[[int], None]
"""Gets the number of documents that are stored, or, in a stream, sent."""


async def create_transfer(url: str, ubid: str, documents: int) -> None:
    """Store the transfer that the documents belong to."""
    connection = await _Connection.open(url)
    await connection.post("/tracking/sms_transfers", TRANSFER.format(ubid=ubid, documents=documents).encode())
    connection.close()


async def send_batches(url: str, ubid: str, documents: int, progress: Progress, *, size: int = BATCH) -> None:
    """POST the documents in requests of this size, several at the same time."""
    bodies, done = _bodies(ubid, documents, size), 0

    async def work() -> None:
        nonlocal done
        connection = await _Connection.open(url)
        for number, body in bodies:
            await connection.post("/tracking/sms_documents", body)
            done += number
            progress(done)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())


async def send_stream(url: str, ubid: str, documents: int, progress: Progress) -> None:
    """POST the documents in one request, a line for each."""
    connection = await _Connection.open(url)

    async def chunks(write: Callable[[bytes], Awaitable[None]]) -> None:
        sent = 0
        for batch in batches(documents):
            await write("".join(f"{as_json(row)}\n" for row in batch).encode())
            sent += len(batch)
            progress(sent)

    await connection.post_chunks(f"/tracking/sms_documents/{ubid}/stream", chunks)
    connection.close()


def _bodies(ubid: str, documents: int, size: int) -> Iterator[tuple[int, bytes]]:
    for batch in batches(documents, size):
        yield len(batch), f'{{"UBID":"{ubid}","documents":[{",".join(map(as_json, batch))}]}}'.encode()


class _Connection:
    """One kept connection that speaks just enough HTTP, so that the client is not what is measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", urlsplit(url).port))

    async def post(self, path: str, body: bytes) -> None:
        """Send a JSON body and read the answer.

        Raises:
            LoadFailed: The answer is not 201.
        """
        self._write_head(path, f"Content-Type: application/json\r\nContent-Length: {len(body)}")
        self._writer.write(body)
        await self._read_answer(path)

    async def post_chunks(
        self, path: str, send: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]
    ) -> None:
        """Send a body of unknown length, as fast as the other side takes it, and read the answer.

        Raises:
            LoadFailed: The answer is not 201.
        """

        async def write(chunk: bytes) -> None:
            self._writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await self._writer.drain()

        self._write_head(path, "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked")
        await send(write)
        self._writer.write(b"0\r\n\r\n")
        await self._read_answer(path)

    def close(self) -> None:
        self._writer.close()

    def _write_head(self, path: str, about: str) -> None:
        self._writer.write(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{about}\r\n\r\n".encode())

    async def _read_answer(self, path: str) -> None:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("\r\ncontent-length:")[2].partition("\r\n")[0])
        body = await self._reader.readexactly(length)
        if not head.startswith("http/1.1 201 "):
            raise LoadFailed(f"POST {path}: {head.splitlines()[0]} {body.decode()}")
