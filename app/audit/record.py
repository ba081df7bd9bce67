"""Writes audit entries, in the transaction of the change."""

import json
from collections.abc import Mapping
from typing import Any, Final

from loguru import logger
from sqlmodel import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEntry
from app.audit.schemas import Action, ObjectType, summarize
from app.core.db.database import call_after_commit, database_of
from app.core.db.types import ServerNow
from app.core.http.access import ACTOR
from app.core.telemetry.log import REQUEST_ID

NOTHING: Final[Mapping[str, Any]] = {}


async def record(
    session: AsyncSession,
    action: Action,
    object_type: ObjectType,
    object_id: object | None = None,
    *,
    before: Mapping[str, Any] = NOTHING,
    after: Mapping[str, Any] = NOTHING,
) -> None:
    """Add an entry to the audit trail, and log it after the commit.

    Runs inside the caller's transaction and does not commit, so the entry
    exists if and only if the change does. The actor and the request id come
    from context variables.

    Args:
        session: Session of the transaction, from ``Database.transaction()``.
        action: Verb and object.
        object_type: Type of the object.
        object_id: Id or name; None if the change is about all objects of the type.
        before: Fields of the object before the change, JSON-serializable, without secrets.
        after: Fields after the change. Only differences are stored, with None where one side lacks the field.
    """
    database, actor = database_of(session), ACTOR.get()
    changes = {
        name: {"before": before.get(name), "after": after.get(name)}
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    }
    shown_id = None if object_id is None else str(object_id)
    values = {
        "at": ServerNow(),
        "action": action,
        "object_type": object_type,
        "object_id": shown_id,
        "actor": actor.name,
        "actor_id": actor.user_id,
        "request_id": REQUEST_ID.get(),
        "changes": json.dumps(changes, ensure_ascii=False),
        "delivered_at": None if database.has_webhook else ServerNow(),
    }
    await session.exec(insert(AuditEntry).values(**values))

    def announce() -> None:
        logger.info("[AUDIT] {} | {}", action, summarize(action, object_type, shown_id))
        database.audited.set()

    call_after_commit(session, announce)
