"""Large JSON bodies are read like small ones, in steps."""

import json
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.http.large_bodies import EntryTooLarge, load_in_steps

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(value=VALUES, indent=st.sampled_from((None, 2)), is_ascii=st.booleans())
@settings(derandomize=True, deadline=None)
def test_what_is_valid_is_read_as_by_the_parser_of_python(value: Any, indent: int | None, is_ascii: bool):
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)

    assert load_in_steps(text.encode()) == value
    assert load_in_steps(f"\n {text}\t".encode("utf-16")) == value


@given(
    value=st.dictionaries(TEXT, st.lists(VALUES, max_size=4), max_size=4),
    at=st.integers(0, 1000),
    character=st.sampled_from('{}[],:"0 \\x'),
    is_added=st.booleans(),
)
@settings(derandomize=True, deadline=None, max_examples=500)
def test_what_is_broken_is_refused_as_by_the_parser_of_python(value: Any, at: int, character: str, is_added: bool):
    text = json.dumps(value)
    at %= len(text)
    broken = text[:at] + character + text[at + (0 if is_added else 1) :]
    try:
        expected = json.loads(broken)
    except json.JSONDecodeError:
        with pytest.raises(json.JSONDecodeError):
            load_in_steps(broken.encode())
    else:
        assert load_in_steps(broken.encode()) == expected


@pytest.mark.parametrize("length", [4000, 4090, 4096, 5000, 100_000])
def test_entries_of_any_length_are_whole(length: int):
    entries = ["a" * length, [0] * (length // 4), {"a": "é" * (length // 4)}, float("0." + "1" * length), 1]
    for text in (json.dumps({"x": entries, "y": entries[0]}), '{"x": [0.' + "1" * length + ", 2]}"):
        assert load_in_steps(text.encode()) == json.loads(text)


def test_lists_beyond_what_any_route_takes_are_cut_and_too_large_entries_refused():
    assert len(load_in_steps(b'{"a": [' + b"[]," * 1_000_000 + b"[]]}")["a"]) == 20_101
    assert len(load_in_steps(b"{" + b",".join(b'"%d":0' % number for number in range(50_000)) + b"}")) == 20_101
    with pytest.raises(EntryTooLarge):
        load_in_steps(b'{"a": [{"a": [' + b"[]," * 1_000_000 + b"[]]}]}")


UBID = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
JSON = {"Content-Type": "application/json"}
TRANSFER = {"UBID": UBID, "SMScount": 3, "documents": 2, "fileName": "a.csv", "origName": "b.csv"}


def documents(number: int, **changes: Any) -> list[dict[str, Any]]:
    return [{"SMScount": 1, "uniqueId": f"A{each}", "data": {"text": "x" * 100}, **changes} for each in range(number)]


@pytest.mark.engines("sqlite")
async def test_large_batch_is_stored_and_refused_like_a_small_one(client):
    await client.post("/tracking/sms_transfers", json=TRANSFER)
    for number in (2, 5000):
        last, right = number - 1, documents(number)
        for body, details in (
            ({"UBID": UBID, "documents": right}, None),
            (
                {"UBID": UBID, "documents": [*right[:-1], *documents(1, SMScount=0)]},
                {f"documents.{last}.SMScount": "must be more than 0"},
            ),
            ({"UBID": "x", "documents": right}, {"UBID": f"must be a UUID, such as {UBID}"}),
            ({"documents": right}, {"UBID": "is required"}),
            (right, {"body": "must be an object"}),
            (json.dumps({"UBID": UBID, "documents": right})[:-1], {"body": "is not valid JSON"}),
            (json.dumps({"UBID": UBID, "documents": right}) + "x", {"body": "is not valid JSON"}),
        ):
            content = body if isinstance(body, str) else json.dumps(body)
            answer = await client.post("/tracking/sms_documents", content=content, headers=JSON)
            assert (answer.status_code, answer.json().get("details")) == (400 if details else 201, details)


@pytest.mark.engines("sqlite")
async def test_large_batch_is_validated_in_a_thread(client, monkeypatch):
    threads = []

    def load(*body: Any) -> Any:
        threads.append(threading.current_thread().name)
        return load_in_steps(*body)

    monkeypatch.setattr("app.core.http.large_bodies.load_in_steps", load)
    await client.post("/tracking/sms_documents", json={"UBID": UBID, "documents": documents(5000)})

    assert [name.partition("_")[0] for name in threads] == ["bodies"]
