"""Request and response schemas of transfers and documents. Field names are those of the original service."""

import json
import re
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator
from pydantic.config import JsonDict
from pydantic_core import to_json

from app.core.characters import SHOWN_LINE, shown_line
from app.core.http.bodies import RequestBody
from app.core.http.numbers import NO_UNDERSCORES, integral_float_to_int
from app.core.http.paging import LimitField, OffsetField
from app.tracking.models import UBID_PATTERN, State

MAX_DOCUMENTS: Final = 5000
MAX_DATA: Final = 65_536
MAX_DEPTH: Final = 100
_TOO_DEEP: Final = f"must be nested at most {MAX_DEPTH} levels deep"
_UBID: Final = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
_TRANSFER: Final[JsonDict] = {
    "UBID": _UBID,
    "SMScount": 3,
    "documents": 2,
    "fileName": "batch-2026-11-21.csv",
    "origName": "november.csv",
}
_DOCUMENT: Final[JsonDict] = {"SMScount": 1, "uniqueId": "A000000001", "data": {"to": "+233201234567"}}
_WHEN: Final = "2026-11-21T09:17:00.250000Z"
_STORED: Final[JsonDict] = {**_TRANSFER, "fallbackCount": 0, "when": _WHEN}


def _canonical(ubid: str) -> str:
    if not re.fullmatch(UBID_PATTERN, ubid.lower()):
        raise ValueError(f"must be a UUID, such as {_UBID}")
    return ubid.lower()


def _as_json(value: object) -> str:
    """Serialize an object: it is stored as text, and the service never looks into it."""
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    try:
        # This refuses what no response could show: unpaired surrogates and extreme nesting.
        text = to_json(value, inf_nan_mode="constants")
    except ValueError as error:
        why = "must not contain an unpaired surrogate" if "surrogate" in str(error) else _TOO_DEEP
        raise ValueError(why) from error
    # JSON parsers have different depth limits. Counting brackets first is cheaper than measuring the depth.
    if len(text) > 2 * MAX_DEPTH and text.count(b"{") + text.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        raise ValueError(_TOO_DEEP)
    if b"NaN" in text or b"Infinity" in text:
        try:
            json.dumps(value, allow_nan=False)
        except ValueError as error:
            raise ValueError("must not contain NaN or Infinity, which JSON does not allow") from error
    if len(text) > MAX_DATA:
        raise ValueError(f"must have at most {MAX_DATA} bytes as JSON")
    return text.decode()


def _depth(value: dict[Any, Any]) -> int:
    """Return the number of nested levels of objects and lists."""
    depth, level = 0, list[Any]([value])
    while level:
        depth += 1
        inside = (outer.values() if isinstance(outer, dict) else outer for outer in level)
        level = [inner for values in inside for inner in values if isinstance(inner, (dict, list))]
    return depth


JsonText = Annotated[str, BeforeValidator(_as_json), WithJsonSchema({"type": "object"})]
Ubid = Annotated[
    str,
    Field(max_length=36, description="UUID of the transfer.", json_schema_extra={"format": "uuid", "minLength": 36}),
    AfterValidator(_canonical),
]
Name = Annotated[str, Field(min_length=1, json_schema_extra={"pattern": SHOWN_LINE}), AfterValidator(shown_line)]
Count = Annotated[int, Field(gt=0, le=2**31 - 1, strict=True), BeforeValidator(integral_float_to_int)]


class TransferCreate(RequestBody):
    """A batch of SMS, as announced by the customer."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TRANSFER]})

    UBID: Ubid
    SMScount: Count = Field(description="Number of SMS in the batch; a long message takes several.")
    documents: Count = Field(description="Number of messages in the batch.")
    fileName: Name = Field(max_length=55)
    origName: Name = Field(max_length=50)


class TransferPublic(BaseModel):
    """A batch of SMS and its state."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [{**_STORED, "state": "INIT"}]})

    UBID: str
    SMScount: int = Field(description="Number of SMS in the batch; a long message takes several.")
    documents: int = Field(description="Number of messages in the batch, as announced.")
    fileName: str
    origName: str
    fallbackCount: int = Field(description="Number of messages delivered by other means than SMS.")
    when: datetime = Field(description="Time at which it was stored, UTC.")
    state: State


class TransferDetails(TransferPublic):
    """A batch of SMS with the number of its stored documents by state."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_STORED, "state": "SENT", "states": {"INIT": 0, "SENT": 1, "DONE": 1}}]}
    )

    states: dict[State, int] = Field(description="Number of stored documents by state.")


class TransferFilters(BaseModel):
    """Filters of the list of transfers, which is sorted newest first."""

    state: State | None = Field(default=None, description="Only transfers in this state.")
    limit: LimitField = 100
    offset: OffsetField = 0


class DocumentInput(BaseModel):
    """A message of a batch."""

    # Not a RequestBody: its limit of errors would cost time for each of thousands. The batch has one.
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_DOCUMENT]})

    SMScount: Count = Field(description="Number of SMS that the message takes.")
    # Stripped, because MariaDB ignores trailing spaces when comparing ids and SQLite does not.
    uniqueId: Name = Field(max_length=10, description="Id of the message within its batch.")
    data: JsonText = Field(description="Any object of the customer's, at most 64 KiB as JSON.")


class DocumentBatch(RequestBody):
    """Messages of a batch."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"UBID": _UBID, "documents": [_DOCUMENT]}]})

    UBID: Ubid
    documents: list[DocumentInput] = Field(min_length=1, max_length=MAX_DOCUMENTS)


class DocumentPublic(BaseModel):
    """A message and its state."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={"examples": [{"UBID": _UBID, **_DOCUMENT, "state": "INIT", "when": _WHEN}]},
    )

    UBID: str
    uniqueId: str
    SMScount: int
    state: State
    when: datetime = Field(description="Time at which it was stored, UTC.")
    data: dict[str, Any]

    @field_validator("data", mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value


class DocumentFilters(BaseModel):
    """A page of documents, sorted by `uniqueId`."""

    # Engines disagree about what comes after a NUL.
    after: Name | None = Field(default=None, max_length=10, description="Last `uniqueId` of the previous page.")
    limit: Annotated[int, Field(ge=1, le=MAX_DOCUMENTS), NO_UNDERSCORES] = Field(
        default=1000, description="Maximum number of documents."
    )


class DocumentsResult(BaseModel):
    """The result in words."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"result": f"Inserted 2 document(s) for UBID '{_UBID}' in table tracking.sms_documents"}]
        }
    )

    result: str


class StreamResult(BaseModel):
    """The result of a stream."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"UBID": _UBID, "lines": 412343, "batches": 83}]})

    UBID: str
    lines: int = Field(
        description="Number of documents read. If several have the same `uniqueId`, the last one is stored."
    )
    batches: int = Field(description="Number of transactions that stored them.")
