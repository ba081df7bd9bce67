"""Ten million synthetic rates: four sources, each with other currencies, on consecutive days."""

import asyncio
import random
import string
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import islice, product
from typing import Final

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.config.settings import Settings
from app.core.db.database import create_engine
from app.rates.models import CurrencySpan, ExchangeRate, RateDay

SOURCES: Final = tuple(f"source-{number}" for number in range(4))
CODES: Final = 250
"""Currencies of each source."""
FIRST_DAY: Final = date(1999, 1, 4)
DAYS: Final = 10_000
ROWS: Final = len(SOURCES) * CODES * DAYS
_NUMBER_OF_DAY: Final = {"sqlite": "CAST(julianday(day) AS INTEGER)", "mysql": "TO_DAYS(day)"}


def codes_of(source: str) -> list[str]:
    """The currencies of one source."""
    letters = map("".join, product(string.ascii_uppercase, repeat=3))
    first = CODES * SOURCES.index(source)
    return list(islice(letters, first, first + CODES))


def years(chance: random.Random) -> Iterator[str]:
    """Generate paths of a year of one pair, each time another one."""
    while True:
        base, quote = chance.sample(codes_of(chance.choice(SOURCES)), 2)
        first = FIRST_DAY + timedelta(days=chance.randrange(DAYS - 365))
        yield f"/rates/{first}..{first + timedelta(days=364)}?base={base}&symbols={quote}"


def fill(url: str) -> None:
    """Write all rates into a migrated database."""
    asyncio.run(_fill(url))


async def _fill(url: str) -> None:
    engine = create_engine(Settings(database_url=url))
    # Updating the index for each row would take longest, because its order differs from that of the rows.
    (index,) = ExchangeRate.__table__.indexes  # type: ignore[attr-defined]  # SQLModel does not declare it
    async with engine.connect() as connection:
        await connection.run_sync(index.drop)
        for source in SOURCES:
            await _fill_source(connection, source)
        await connection.run_sync(index.create)
        await connection.commit()
    await engine.dispose()


async def _fill_source(connection: AsyncConnection, source: str) -> None:
    days = [FIRST_DAY + timedelta(days=number) for number in range(DAYS)]
    span = {"source": source, "first_day": days[0], "last_day": days[-1]}
    await connection.execute(insert(RateDay), [{"source": source, "day": day} for day in days])
    await connection.execute(insert(CurrencySpan), [{"quote": code, **span} for code in codes_of(source)])
    number = _NUMBER_OF_DAY[connection.dialect.name]
    statement = text(
        "INSERT INTO exchange_rate (source, quote, day, rate) "  # noqa: S608  # nothing from outside
        f"SELECT source, :code, day, 1 + {number} * :factor % 99991 / 1000.0 "
        "FROM rate_day WHERE source = :source ORDER BY day"
    )
    for factor, code in enumerate(codes_of(source), start=7):
        await connection.execute(statement, {"source": source, "code": code, "factor": factor})
        await connection.commit()
