"""What the figures tell of the stored data, looked up now and then: other processes change them too."""

from asyncio import sleep
from typing import Final

from loguru import logger

from app.core.db.database import Database
from app.core.errors import DatabaseUnavailable
from app.core.telemetry.counts import Counts, DataFigures
from app.countries.store import read_summary
from app.countries.summary import Summary

LOOK_SECONDS: Final = 60.0


async def keep_known(database: Database, counts: Counts) -> None:
    """Look at the data once a minute, until cancelled; the schedule does so at the start."""
    while True:
        await sleep(LOOK_SECONDS)
        try:
            async with database.reading() as session:
                counts.data = figures_of(await read_summary(session))
        except DatabaseUnavailable:
            continue  # which was logged, and shows elsewhere; the last knowledge stands
        except Exception:  # whatever it is, the next look must come
            logger.exception("Looking at the data failed")


def figures_of(summary: Summary | None) -> DataFigures | None:
    """What figures tell of a summary."""
    if summary is None:
        return None
    return DataFigures(
        summary.total_countries, summary.refreshed_at, summary.country_source, summary.rate_source, summary.rates_date
    )
