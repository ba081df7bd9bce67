"""The same documents for every way of storing them, generated one after the other."""

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

BATCH: Final = 5000
STATE: Final = "INIT"


class Row(NamedTuple):
    """One document, with its data as JSON."""

    unique_id: str
    sms_count: int
    data: str


def rows(first: int, number: int) -> Iterator[Row]:
    """Generate documents in the order of their ids, from number ``first`` on."""
    for n in range(first, first + number):
        data = f'{{"to":"+23320{n:07}","text":"Dear customer {n}, your parcel is waiting for you in Accra"}}'
        yield Row(f"M{n:09}", 1 + n % 3, data)


def batches(number: int, size: int = BATCH) -> Iterator[list[Row]]:
    """Generate the documents in batches of this size."""
    for first in range(0, number, size):
        yield list(rows(first, min(size, number - first)))


def as_json(row: Row) -> str:
    """A document as a client sends it."""
    return f'{{"SMScount":{row.sms_count},"uniqueId":{json.dumps(row.unique_id)},"data":{row.data}}}'
