"""Queries of the audit trail."""

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.models import AuditEntry
from app.audit.schemas import AuditEntryPublic, AuditFilters


async def list_entries(session: AsyncSession, filters: AuditFilters) -> tuple[list[AuditEntryPublic], int]:
    """Return a page of entries, newest first, and the total number of matches."""
    equal = filters.model_dump(exclude={"since", "until", "limit", "offset"}, exclude_none=True)
    conditions = [getattr(AuditEntry, name) == value for name, value in equal.items()]
    if filters.since is not None:
        conditions.append(col(AuditEntry.at) >= filters.since)
    if filters.until is not None:
        conditions.append(col(AuditEntry.at) < filters.until)
    query = select(AuditEntry).where(*conditions).order_by(col(AuditEntry.id).desc())
    rows = await session.exec(query.limit(filters.limit).offset(filters.offset))
    entries = [AuditEntryPublic.of(entry) for entry in rows]
    total = (await session.exec(select(func.count()).select_from(AuditEntry).where(*conditions))).one()
    return entries, total
