"""Large JSON bodies: parsed and validated in a thread, in steps that block nobody else."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from json.decoder import WHITESPACE, scanstring  # type: ignore[attr-defined]
from typing import Any, Final, get_args, get_origin

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.types import Receive, Scope

_SMALL: Final = 131_072
"""Bytes that are parsed in a few milliseconds."""
_LARGEST_ENTRY: Final = 262_144
"""Characters of an entry of a list, because the parser blocks all threads: 64 KiB take three times as much in ASCII."""
_MOST_ENTRIES: Final = 20_100
"""Entries of a list or object that are read: more than any route takes, so that the rest need not be known."""
_THREAD: Final = ThreadPoolExecutor(1, thread_name_prefix="bodies")
"""One at a time: the thread and the event loop take turns in Python."""
_MOST_WRONG: Final = _LARGEST_ENTRY
"""Characters of wrong entries after which further ones are not validated: their mistakes would not be shown."""

Check = Callable[[str, Any, int], Any]
"""From the name of a list, an entry and its length to what is kept of it."""


class LargeBodyRoute(APIRoute):
    """A route that reads its JSON body in a thread, if it is large."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with a request of ours."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        validator = _Validator(self.body_field.field_info.annotation)

        async def handle_large(request: Request) -> Response:
            return await handle(_LargeRequest(request.scope, request.receive, validator))

        return handle_large


class _LargeRequest(Request):
    def __init__(self, scope: Scope, receive: Receive, validator: "_Validator") -> None:
        super().__init__(scope, receive)
        self._validator = validator

    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= _SMALL:
            return await super().json()
        return await asyncio.get_running_loop().run_in_executor(_THREAD, self._validator.validate, body)


class _Validator:
    """Validates a body, and entries of its lists one by one, which keeps steps short and frees what they were."""

    def __init__(self, model: Any) -> None:
        self._model = model
        kinds = {name: info.annotation for name, info in model.model_fields.items()}
        lists = {name: kind for name, kind in kinds.items() if get_origin(kind) is list}
        self._entries = {name: TypeAdapter[Any](get_args(kind)[0]) for name, kind in lists.items()}

    def validate(self, body: bytes) -> Any:
        """The validated model, or the error with which :class:`RequestBody` refuses it."""
        wrong = 0

        def check(name: str, entry: Any, length: int) -> Any:
            nonlocal wrong
            if wrong > _MOST_WRONG or name not in self._entries:
                return None
            try:
                return self._entries[name].validate_python(entry)
            except ValidationError:
                wrong += length
                return entry  # the model finds the same mistakes in it, and their place

        try:
            return self._model.model_validate(load_in_steps(body, check))
        except (ValidationError, EntryTooLarge) as error:
            return error


class EntryTooLarge(ValueError):
    """An entry of a list is too large to be parsed, or not valid."""

    def __init__(self) -> None:
        super().__init__(f"has an entry that is not valid JSON or has more than {_LARGEST_ENTRY} characters")


def load_in_steps(body: bytes, check: Check = lambda _, entry, __: entry) -> Any:
    """Parse an object of JSON like ``json.loads()``, with a call of the parser for each entry of a list in it.

    Longer lists and objects than any route takes are cut.

    Raises:
        JSONDecodeError: It is not valid.
        EntryTooLarge: It may be valid.
    """
    text = body.decode(json.detect_encoding(body), "surrogatepass")
    reader = _Reader(text, check)
    if reader.next() != "{" and len(text) > _LARGEST_ENTRY:
        return None  # whatever it is, it is not an object
    value = reader.read_object() if reader.next() == "{" else reader.read_value()
    if not reader.is_cut and reader.next():
        raise reader.error("Extra data")
    return value


class _Reader:
    def __init__(self, text: str, check: Check) -> None:
        self._text = text
        self._check = check
        self._at = 0
        self._decoder = json.JSONDecoder()
        self.is_cut = False

    def next(self) -> str:
        """The next character that is not white space, empty at the end."""
        found = WHITESPACE.match(self._text, self._at)
        self._at = found.end()
        return self._text[self._at : self._at + 1]

    def error(self, message: str) -> json.JSONDecodeError:
        return json.JSONDecodeError(message, "", 0)

    def read_value(self) -> Any:
        # A short part first: most entries are short, and copying a long one for each takes time.
        for length in (4096, _LARGEST_ENTRY):
            is_whole = self._at + length >= len(self._text)
            try:
                value, end = self._decoder.raw_decode(self._text[self._at : self._at + length])
            except json.JSONDecodeError:
                if is_whole:
                    raise
                continue
            if is_whole or end < length:  # else it may be the beginning of a longer number
                self._at += end
                return value
        raise EntryTooLarge

    def read_object(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._at += 1
        if self.next() == "}":
            self._at += 1
            return found
        while not self.is_cut:
            if self.next() != '"':
                raise self.error("Expecting property name enclosed in double quotes")
            name, self._at = scanstring(self._text, self._at + 1, True)
            self._expect(":")
            found[name] = self._read_list(name) if self.next() == "[" else self.read_value()
            self.is_cut = self.is_cut or len(found) > _MOST_ENTRIES
            if self.is_cut or not self._goes_on("}"):
                break
        return found

    def _read_list(self, name: str) -> list[Any]:
        found: list[Any] = []
        self._at += 1
        if self.next() == "]":
            self._at += 1
            return found
        while True:
            self.next()
            start = self._at
            entry = self.read_value()
            found.append(self._check(name, entry, self._at - start))
            if len(found) > _MOST_ENTRIES:
                self.is_cut = True
                break
            if not self._goes_on("]"):
                break
        return found

    def _goes_on(self, end: str) -> bool:
        """Skip a comma, or the end."""
        found = self.next()
        if found not in (",", end) or not found:
            raise self.error("Expecting ',' delimiter")
        self._at += 1
        return found == ","

    def _expect(self, character: str) -> None:
        if self.next() != character:
            raise self.error(f"Expecting '{character}' delimiter")
        self._at += 1
        self.next()
