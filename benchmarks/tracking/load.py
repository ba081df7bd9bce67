"""Sends documents to the service, one per request or in one stream, in constant memory."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final
from urllib.parse import urlsplit
from uuid import uuid4

from benchmarks.base.load import LoadFailed
from benchmarks.tracking.rows import as_json, batches

IN_FLIGHT: Final = 4
"""Simultaneous requests, each on its own connection."""
TRANSFER: Final = (
    '{{"UBID":"{ubid}","SMScount":{documents},"documents":{documents},"fileName":"load.csv","origName":"load.csv"}}'
)


async def send(way: str, url: str, documents: int) -> float:
    """Store a transfer and its documents, as ``singles`` or as a ``stream``.

    Returns:
        Seconds for the documents.
    """
    ubid = str(uuid4())
    await _create_transfer(url, ubid, documents)
    started = time.perf_counter()
    await {"singles": _send_singles, "stream": _send_stream}[way](url, ubid, documents)
    return time.perf_counter() - started


async def _create_transfer(url: str, ubid: str, documents: int) -> None:
    connection = await _Connection.open(url)
    await connection.post("/tracking/sms_transfers", TRANSFER.format(ubid=ubid, documents=documents).encode())
    connection.close()


async def _send_singles(url: str, ubid: str, documents: int) -> None:
    """POST each document in a request, several at the same time."""
    bodies = _bodies(ubid, documents)

    async def work() -> None:
        connection = await _Connection.open(url)
        for body in bodies:
            await connection.post("/tracking/sms_documents", body)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())


async def _send_stream(url: str, ubid: str, documents: int) -> None:
    """POST the documents in one request, one per line."""
    connection = await _Connection.open(url)

    async def chunks(write: Callable[[bytes], Awaitable[None]]) -> None:
        for batch in batches(documents):
            await write("".join(f"{as_json(row)}\n" for row in batch).encode())

    await connection.post_chunks(f"/tracking/sms_documents/{ubid}/stream", chunks)
    connection.close()


def _bodies(ubid: str, documents: int) -> Iterator[bytes]:
    for (row,) in batches(documents, size=1):
        yield f'{{"UBID":"{ubid}","documents":[{as_json(row)}]}}'.encode()


class _Connection:
    """An open connection with minimal HTTP, so that the client is not measured."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", urlsplit(url).port))

    async def post(self, path: str, body: bytes) -> None:
        """Send a JSON body and read the response.

        Raises:
            LoadFailed: The response is not 201.
        """
        self._write_head(path, f"Content-Type: application/json\r\nContent-Length: {len(body)}")
        self._writer.write(body)
        await self._read_answer(path)

    async def post_chunks(
        self, path: str, send: Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]
    ) -> None:
        """Send a body of unknown length, as fast as the server accepts it, and read the response.

        Raises:
            LoadFailed: The response is not 201.
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


if __name__ == "__main__":
    print(asyncio.run(send(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
