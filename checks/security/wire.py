"""Bytes sent to a service as they are, past every client that would mend them, and what came back."""

import io
import json
import re
import socket
from http.client import HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit

CONSOLE = re.compile(r"20[2-9]\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| [A-Z]+ +\| [\w.-]+ \| ")


class Reply(NamedTuple):
    """The first answer on a connection."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    answers: int
    """How many came; a header that was split may bring a second one."""


class _Received(io.BytesIO):
    def makefile(self, *_: Any) -> "_Received":
        return self


def ask(url: str, *pieces: bytes, seconds: float = 20) -> Reply:
    """Send pieces until the service has enough of them, and read until it closes the connection."""
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port), seconds) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # it answered and closed before the end
        received = bytearray()
        try:
            while data := connection.recv(65_536):
                received += data
        except ConnectionError:
            pass
    method = pieces[0].partition(b" ")[0].decode("latin-1")  # what answers HEAD has no body
    reply = HTTPResponse(_Received(bytes(received)), method=method)  # type: ignore[arg-type]  # all that it asks of a socket
    reply.begin()
    return Reply(reply.status, reply.getheaders(), reply.read(), len(re.findall(rb"(?m)^HTTP/1\.1 ", received)))


def request(target: bytes, *fields: bytes, method: bytes = b"GET", body: bytes = b"") -> bytes:
    """A request after whose answer the connection ends."""
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: service", b"Connection: close", *fields]
    return b"\r\n".join([*lines, b"", body])


def is_error(reply: Reply) -> bool:
    """Whether it is in the one shape of errors."""
    told = json.loads(reply.body)
    return isinstance(told.pop("error"), str) and told.keys() <= {"details"}


def forged_lines(log: str, *, is_json: bool) -> list[str]:
    """Lines of the log that are none of the service's own; every character counts that some reader takes for an end."""
    return [line for line in log.splitlines() if not (_is_json(line) if is_json else CONSOLE.match(line))]


def _is_json(line: str) -> bool:
    try:
        return bool({"time", "level", "message"} <= json.loads(line).keys())
    except ValueError:
        return False
