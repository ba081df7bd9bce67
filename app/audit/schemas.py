"""Request and response schemas of the audit trail."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from app.audit.models import AuditEntry
from app.core.http.paging import LimitField, OffsetField

Action = Literal[
    "CREATE_USER",
    "UPDATE_USER",
    "DELETE_USER",
    "CREATE_ADDRESS",
    "UPDATE_ADDRESS",
    "DELETE_ADDRESS",
    "CREATE_API_KEY",
    "REVOKE_API_KEY",
    "DELETE_COUNTRY",
    "REFRESH_COUNTRIES",
    "IMPORT_RATES",
]
"""Verb and object."""
ObjectType = Literal["User", "Address", "API key", "Country", "Countries", "Rates"]

_DONE: Final = {
    "CREATE": "created",
    "UPDATE": "updated",
    "DELETE": "deleted",
    "REVOKE": "revoked",
    "REFRESH": "refreshed",
    "IMPORT": "imported",
}
_EXAMPLE: Final[JsonDict] = {
    "id": 1,
    "at": "2026-11-21T09:17:00.250000Z",
    "action": "UPDATE_USER",
    "object_type": "User",
    "object_id": "1",
    "summary": "User 1 updated",
    "actor": "grace@example.com",
    "actor_id": 2,
    "request_id": "5c0f3b8e0000002a",
    "changes": {"role": {"before": "reader", "after": "editor"}},
}


class AuditEntryPublic(BaseModel):
    """One change: who, what, which object, when, in which request."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: int
    at: datetime = Field(description="Time of the change by the database's clock, UTC.")
    action: str = Field(description="Verb and object.")
    object_type: str
    object_id: str | None = Field(description="Id or name; null if the change is about all objects of the type.")
    summary: str = Field(description="What happened, in words.")
    actor: str = Field(
        description="E-mail address at that time, or `ADMIN_API_KEY`, `anybody` (no credential was needed), "
        "`service` (scheduled work) or `command line`."
    )
    actor_id: int | None = Field(description="Id of the account; null if the actor has none.")
    request_id: str | None = Field(description="`X-Request-ID` of the request; null outside a request.")
    changes: dict[str, Any] = Field(description="Changed fields, each with `before` and `after`; secrets are masked.")

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Convert a row of the table."""
        summary = summarize(entry.action, entry.object_type, entry.object_id)
        return cls(**{**entry.model_dump(), "changes": json.loads(entry.changes)}, summary=summary)


def summarize(action: str, object_type: str, object_id: str | None) -> str:
    """Describe a change in words, such as ``User 1 created``."""
    verb = action.partition("_")[0]
    done = _DONE.get(verb, verb.lower())  # a newer version of the service may know other verbs
    return " ".join(part for part in (object_type, object_id, done) if part)


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("is out of range") from None


def _require_text(text: object) -> object:
    # pydantic also accepts a number of seconds.
    if isinstance(text, str) and not re.match("[0-9]{4}-", text):
        raise ValueError("must be a time, such as 2026-11-21T09:17:00Z")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_require_text), AfterValidator(_in_utc)]


class AuditFilters(BaseModel):
    """Filters of the list of entries, which is sorted newest first."""

    action: Action | None = Field(default=None, description="Verb and object.")
    object_type: ObjectType | None = Field(default=None, description="Type of the object.")
    object_id: str | None = Field(default=None, max_length=200, description="Id or name of the object.")
    actor: str | None = Field(default=None, max_length=320, description="Actor, as in the entry.")
    request_id: str | None = Field(default=None, max_length=64, description="`X-Request-ID` of the request.")
    since: Moment | None = Field(default=None, description="At this time or later; a zone is required.")
    until: Moment | None = Field(default=None, description="Before this time; a zone is required.")
    limit: LimitField = 100
    offset: OffsetField = 0
