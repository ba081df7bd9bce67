"""Responses as raw bytes, captured from the service and replayed by the bare function."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

_OF_THE_SERVER = (b"date", b"server")
"""Headers that the server itself adds to each answer."""


@dataclass(frozen=True)
class Answer:
    """A response, not decoded."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    """Without those that the server adds; names in lower case."""
    body: bytes

    def header(self, name: bytes) -> str | None:
        """The value of a header; None if it was not sent."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name), None)


def capture(url: str, headers: Mapping[str, str]) -> Answer:
    """Send the request that wrk sends, with these headers."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        del client.headers["accept-encoding"]
        with client.stream("GET", url, headers=headers) as response:
            body = b"".join(response.iter_raw())
            lower = ((name.lower(), value) for name, value in response.headers.raw)
            kept = tuple((name, value) for name, value in lower if name not in _OF_THE_SERVER)
            return Answer(response.status_code, kept, body)


def decoded_body(answer: Answer) -> bytes:
    """The body without its content coding."""
    return httpx.Response(answer.status, headers=list(answer.headers), content=answer.body).content


def write_answers(path: Path, answers: Mapping[str, Answer]) -> None:
    """Store responses by path and query for :func:`read_messages`."""
    plain = {key: (answer.status, answer.headers, answer.body) for key, answer in answers.items()}
    path.write_text(repr(plain))


def read_messages(path: Path) -> dict[tuple[bytes, bytes], tuple[dict[str, Any], dict[str, Any]]]:
    """Read stored responses as pairs of ASGI messages, by raw path and query."""
    messages = {}
    for key, (status, headers, body) in ast.literal_eval(path.read_text()).items():
        target, _, query = key.encode().partition(b"?")
        start = {"type": "http.response.start", "status": status, "headers": list(headers)}
        messages[target, query] = (start, {"type": "http.response.body", "body": body})
    return messages
