"""Whether a program printed what the documentation says, apart from what differs from one run to the next."""

import json
import re
from contextlib import suppress
from typing import Any

CHANCE = {"id", "user_id", "actor_id", "request_id", "estimated_gdp", "duration_ms", "age_days"}
"""Fields whose value is given out, drawn, or depends on the day; only its type is compared."""
VARIABLE = [
    ("\ufeff", ""),  # by which spreadsheets know UTF-8; nobody sees it
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?", "<time>"),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>"),
    (r"\b(token|key)_[\w-]{43}", r"<\1>"),
    (r'"[0-9a-f]{16,}(-\w+)?"', '"<tag>"'),
    (r"\b\d+(\.\d+)? s\b", "<duration>"),
    (r"\b[\d,]+(\.\d+)? (\w+)/s", r"<rate> \2/s"),
    (r"(localhost|127\.0\.0\.1):\d+", "<host>"),
    (r"[ \t]+", " "),
    (r"\s*\n\s*", "\n"),
]


def difference(expected: str, printed: str) -> str | None:
    """Say where both differ; None where they agree. ``...`` in the expected text stands for anything."""
    wanted, got = _as_json(expected), _as_json(printed)
    if wanted is not None:
        return f"no JSON: {printed!r}" if got is None else _in_json(wanted, got, "")
    pattern = re.escape(_constant(expected).strip()).replace(re.escape("..."), ".*?")
    return None if re.fullmatch(pattern, _constant(printed).strip(), re.DOTALL) else f"printed {printed!r}"


def _as_json(text: str) -> list[Any] | None:
    """One document, or one in each line."""
    for documents in ([text], text.splitlines()):
        with suppress(json.JSONDecodeError):
            return [json.loads(document) for document in documents] or None
    return None


def _in_json(wanted: Any, got: Any, at: str) -> str | None:
    """The first difference, with the path to it."""
    if at.rpartition(".")[2] in CHANCE:
        return None if type(wanted) is type(got) else f"{at} is {got!r}, of another type than {wanted!r}"
    if isinstance(wanted, dict) and isinstance(got, dict):
        if wanted.keys() != got.keys():
            return f"{at or 'the answer'} has the fields {list(got)}"
        return next(filter(None, (_in_json(wanted[key], got[key], f"{at}.{key}") for key in wanted)), None)
    if isinstance(wanted, list) and isinstance(got, list):
        if len(wanted) != len(got):
            return f"{at} has {len(got)} entries, not {len(wanted)}"
        pairs = enumerate(zip(wanted, got, strict=True))
        return next(filter(None, (_in_json(*both, f"{at}[{i}]") for i, both in pairs)), None)
    if isinstance(wanted, str) and isinstance(got, str):
        wanted, got = _constant(wanted), _constant(got)
    return None if wanted == got and type(wanted) is type(got) else f"{at} is {got!r}, not {wanted!r}"


def _constant(text: str) -> str:
    for pattern, name in VARIABLE:
        text = re.sub(pattern, name, text)
    return text
