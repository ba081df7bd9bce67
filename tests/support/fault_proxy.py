"""A TCP proxy between the service and a server that delays, cuts or corrupts the traffic."""

import asyncio
import random
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Final, Self

_PIECE: Final = 65_536
_RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 seconds: the other side sees a reset instead of an end."""


@dataclass
class FaultProxy:
    """Forwards everything until its attributes change; open connections obey from their next piece on.

    It buffers at most one piece in each direction.
    """

    target: int
    """Port of the server, on loopback."""
    delay: float = 0
    """Seconds that each piece waits, in both directions."""
    bytes_per_second: float = 0
    """Limit of what the server sends on each connection; 0 for none."""
    is_black_hole: bool = False
    """Connections are accepted and stay open, but nothing is forwarded."""
    is_refusing: bool = False
    """New connections are reset at once."""
    is_garbling: bool = False
    """Random bytes replace those that the server sends."""
    cut_after: int | None = None
    """Number of further bytes from the server after which connections are reset; None for never."""
    cut_at: tuple[bytes, bytes] | None = None
    """A connection is closed when its client has sent the first and now sends the second; None for never."""
    is_cut_late: bool = False
    """The server still receives the second text of ``cut_at``, and acts on it."""
    port: int = 0
    """The proxy's port once started; stop() and start() keep it."""
    accepted: int = 0
    """Number of connections since the start."""
    cuts: int = 0
    """Number of connections closed by ``cut_at``."""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _lost: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _chance: random.Random = field(default_factory=lambda: random.Random(7))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, also after a stop."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse and reset everything, as a dead machine."""
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heal(self) -> None:
        """Forward everything again."""
        self.delay, self.bytes_per_second, self.cut_after, self.cut_at = 0, 0, None, None
        self.is_black_hole = self.is_refusing = self.is_garbling = self.is_cut_late = False

    def cut(self) -> None:
        """Reset every open connection."""
        for writer in tuple(self._writers):
            reset(writer)

    def lose(self) -> None:
        """Close all connections on the server's side without telling the clients; new connections work.

        This is what happens when a server's machine dies and another takes its address.
        """
        self._lost.set()
        self._lost = asyncio.Event()

    @property
    def open(self) -> int:
        """Number of open client connections."""
        return len(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.accepted += 1
        if self.is_refusing:
            reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            reset(writer)
            return
        self._writers |= {writer, server_writer}
        lost = asyncio.create_task(self._lost.wait())
        pumps = [
            asyncio.create_task(self._pump(reader, server_writer, is_answer=False)),
            asyncio.create_task(self._pump(server_reader, writer, is_answer=True)),
        ]
        try:
            await asyncio.wait([lost, *pumps], return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                await _end(*pumps)
                server_writer.close()
                await _discard(reader)
        except asyncio.CancelledError:
            pass  # by stop(); asyncio would log it as an error
        finally:
            await _end(lost, *pumps)
            self._writers -= {writer, server_writer}
            writer.close()
            server_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool) -> None:
        has_first = False
        while piece := await reader.read(_PIECE):
            await asyncio.sleep(self.delay)
            while self.is_black_hole:
                await asyncio.sleep(0.01)
            if is_answer:
                piece = self._treat(piece)
            first, second = self.cut_at or (None, None)
            has_first = has_first or (not is_answer and first is not None and first in piece)
            is_cut = has_first and second is not None and second in piece
            if not is_cut or self.is_cut_late:
                writer.write(piece)
                await writer.drain()
            if is_cut:
                self.cuts += 1
                return
            if is_answer and self.cut_after == 0:
                self.cut()
                return
            if is_answer and self.bytes_per_second:
                await asyncio.sleep(len(piece) / self.bytes_per_second)

    def _treat(self, piece: bytes) -> bytes:
        if self.is_garbling:
            piece = self._chance.randbytes(len(piece))
        if self.cut_after is not None:
            piece = piece[: self.cut_after]
            self.cut_after -= len(piece)
        return piece


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection so that the other side sees a reset."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:  # it may be closed by now
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _discard(reader: asyncio.StreamReader) -> None:
    """Read until the other side closes the connection."""
    while await reader.read(_PIECE):
        pass
