"""Requests sent as raw bytes, which an HTTP client would correct, and their responses."""

import io
import json
import re
import socket
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

CONSOLE = re.compile(r"20[2-9]\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| [\w.-]+ \| ")


class Reply(NamedTuple):
    """The first response on a connection."""

    status: int
    headers: httpx.Headers
    body: bytes
    answers: int
    """Number of responses; a split header may cause a second one."""


class _Received(io.BytesIO):
    def makefile(self, *_: Any) -> "_Received":
        return self


def ask(url: str, *pieces: bytes, seconds: float = 20) -> Reply:
    """Send pieces until the service refuses more, and read until it closes the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), seconds) as connection:
        with suppress(OSError):  # it may answer and close before the end
            for piece in pieces:
                connection.sendall(piece)
        received = bytearray()
        with suppress(ConnectionError):
            while data := connection.recv(65_536):
                received += data
    method = pieces[0].partition(b" ")[0].decode("latin-1")  # a response to HEAD has no body
    reply = HTTPResponse(_Received(bytes(received)), method=method)  # type: ignore[arg-type]  # all it needs
    reply.begin()
    return Reply(
        reply.status, httpx.Headers(reply.getheaders()), reply.read(), len(re.findall(rb"(?m)^HTTP/1\.1 ", received))
    )


def request(target: bytes, *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """A request with ``Connection: close``."""
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: service", b"Connection: close", *fields]
    return b"\r\n".join([*lines, b"", body])


def is_error(reply: Reply) -> bool:
    """Whether the body has the shape of all errors."""
    body = json.loads(reply.body)
    return isinstance(body.pop("error"), str) and body.keys() <= {"details"}


def forged_lines(log: str, *, is_json: bool) -> list[str]:
    """Lines of the log that the service did not write; every character that some reader takes for a line end counts."""
    return [line for line in log.splitlines() if not (_is_json(line) if is_json else CONSOLE.match(line))]


def _is_json(line: str) -> bool:
    try:
        return bool({"time", "level", "message"} <= json.loads(line).keys())
    except ValueError:
        return False
