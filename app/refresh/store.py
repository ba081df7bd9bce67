"""Stores a refresh in the open transaction."""

from sqlmodel.ext.asyncio.session import AsyncSession

from app.audit.record import record
from app.core.db.lease import Lease
from app.core.db.upsert import upsert
from app.countries.drawing import Drawing
from app.countries.models import Country
from app.countries.store import change_summary, record_history
from app.countries.summary import Summary
from app.rates.store import record_quotes
from app.refresh.fetch import RefreshOrder, SourceData
from app.refresh.rows import CountryRows
from app.refresh.schemas import RefreshResult


async def store_refresh(
    session: AsyncSession,
    order: RefreshOrder,
    lease: Lease,
    data: SourceData,
    rows: CountryRows,
    drawing: Drawing,
    result: RefreshResult,
    *,
    version: int,
    before: Summary | None,
) -> int:
    """Write countries, summary, history, rates and the audit entry of one refresh.

    Runs inside the caller's transaction, which has locked ``before``, the
    summary until now, and does not commit. The fence number of the lease
    becomes the generation of the data; the result is stored so that every
    process can give the same answer. Takes the data version until now, and
    returns the next one.
    """
    await upsert(session, Country, rows.updated, key="id")
    await upsert(session, Country, rows.inserted)  # without a key, so that a second row with the same code is an error
    about = {"generation": lease.fence, "request_digest": order.digest, "report": result.model_dump_json()}
    version = await change_summary(session, version, drawing, **about)
    await record_history(session, rows.summary)
    await record_quotes(session, data.fetched_rates.source, data.fetched_rates.quotes, recorded_at=data.now)
    await record(session, "REFRESH_COUNTRIES", "Countries", before=_audited(before), after=_audited(rows.summary))
    return version


def _audited(summary: Summary | None) -> dict[str, object]:
    """The summary in the audit entry; empty before the first refresh."""
    if summary is None:
        return {}
    return {
        "total_countries": summary.total_countries,
        "country_source": summary.country_source,
        "rate_source": summary.rate_source,
        "rates_date": str(summary.rates_date),
        "last_refreshed_at": summary.refreshed_at.isoformat(),
    }
