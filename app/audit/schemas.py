"""What clients see of the audit trail, and what they may ask of it."""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.config import JsonDict

from app.audit.models import AuditEntry
from app.core.http.paging import LimitField, OffsetField

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
    at: datetime = Field(description="By the database's clock, UTC.")
    action: str = Field(description="Verb and object.")
    object_type: str
    object_id: str | None = Field(description="Id or name; null where all objects of the type are meant.")
    summary: str = Field(description="What happened, in words.")
    actor: str = Field(
        description="E-mail address at that time; or `ADMIN_API_KEY`, `anybody` (an open development service), "
        "`service` (a schedule) or `command line`."
    )
    actor_id: int | None = Field(description="Id of the account; null without one.")
    request_id: str | None = Field(description="`X-Request-ID` of the request; null outside of one.")
    changes: dict[str, Any] = Field(description="Fields that changed, each with `before` and `after`; secrets masked.")

    @classmethod
    def of(cls, entry: AuditEntry) -> Self:
        """Show a row of the table."""
        summary = summarize(entry.action, entry.object_type, entry.object_id)
        return cls(**{**entry.model_dump(), "changes": json.loads(entry.changes)}, summary=summary)


def summarize(action: str, object_type: str, object_id: str | None) -> str:
    """Say in words what happened, such as ``User 1 created``."""
    verb = action.partition("_")[0]
    done = _DONE.get(verb, verb.lower())  # a newer version of the service may know other verbs
    return " ".join(part for part in (object_type, object_id, done) if part)


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError("is too far away") from None


def _written(text: object) -> object:
    # pydantic would take a number of seconds as well.
    if isinstance(text, str) and not re.match("[0-9]{4}-", text):
        raise ValueError("must be a time, such as 2026-11-21T09:17:00Z")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_in_utc)]


class AuditFilters(BaseModel):
    """Which entries a client wants; the newest come first."""

    action: str | None = Field(default=None, max_length=64, description="Such as `CREATE_USER`.")
    object_type: str | None = Field(default=None, max_length=32, description="Such as `User` or `Country`.")
    object_id: str | None = Field(default=None, max_length=200, description="Id or name of the object.")
    actor: str | None = Field(default=None, max_length=320, description="Who did it, as in the entry.")
    request_id: str | None = Field(default=None, max_length=64, description="`X-Request-ID` of the request.")
    since: Moment | None = Field(default=None, description="This time or later, with its zone.")
    until: Moment | None = Field(default=None, description="Before this time, with its zone.")
    limit: LimitField = 100
    offset: OffsetField = 0
