"""Times single requests, one after the other over one connection."""

import time
from http.client import HTTPConnection
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from benchmarks.base.load import LoadFailed


class Asker:
    """One kept connection to a server, by the standard library: a client that costs little beside what it measures."""

    def __init__(self, url: str) -> None:
        self._connection = HTTPConnection("127.0.0.1", urlsplit(url).port, timeout=120)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._connection.close()

    def ask(self, path: str, *, status: int = 200, method: str = "GET") -> bytes:
        """Return the body of a response.

        Raises:
            LoadFailed: The response has another status.
        """
        self._connection.request(method, path)
        response = self._connection.getresponse()
        body = response.read()
        if response.status != status:
            raise LoadFailed(f"{method} {path}: {response.status} {body.decode()}")
        return body

    def milliseconds(self, path: str, *, status: int = 200, method: str = "GET") -> float:
        """Milliseconds from the request to the last byte of the response."""
        started = time.perf_counter()
        self.ask(path, status=status, method=method)
        return 1000 * (time.perf_counter() - started)
