"""Writes a refresh in one transaction."""

from sqlmodel import insert
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.lease import Lease
from app.core.db.upsert import upsert
from app.countries.models import SUMMARY_ID, Country, SummaryCache
from app.countries.picture import Drawing
from app.countries.store import (
    change_summary,
    least_version,
    summary_values,
)
from app.countries.summary import Summary
from app.refresh.fetch import RefreshOrder
from app.refresh.rows import Batch
from app.refresh.schemas import RefreshResult


def _audited(summary: Summary | None) -> dict[str, object]:
    """What the audit trail tells of the data before and after a refresh."""
    if summary is None:
        return {}
    return {
        "total_countries": summary.total_countries,
        "country_source": summary.country_source,
        "rate_source": summary.rate_source,
        "rates_date": str(summary.rates_date),
        "last_refreshed_at": summary.refreshed_at.isoformat(),
    }


async def _write(
    session: AsyncSession, batch: Batch, drawing: Drawing, lease: Lease, order: RefreshOrder, result: RefreshResult
) -> None:
    """Write countries and summary inside the caller's transaction.

    Known rows are written by their id alone; new ones by a plain INSERT, which
    fails rather than overwrite another country that holds the same code.
    """
    await upsert(session, Country, batch.updated, key="id")
    if batch.inserted:
        await session.exec(insert(Country), params=batch.inserted)
    about = {"generation": lease.fence, "request_digest": order.digest, "report": result.model_dump_json()}
    if not await change_summary(session, drawing, **about):
        values = {"id": SUMMARY_ID, "data_version": least_version(drawing.summary), **summary_values(drawing), **about}
        await session.exec(insert(SummaryCache).values(**values))
