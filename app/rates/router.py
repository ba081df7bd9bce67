"""HTTP routes of exchange rates: of the latest day, of any day, over days, and what an amount is worth."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import date, timedelta
from typing import Annotated, Any, Final

from anyio import CancelScope
from anyio.lowlevel import checkpoint_if_cancelled
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.budget import leave_request
from app.core.db.database import Database
from app.core.errors import ValidationFailed
from app.core.http.access import Rule, access
from app.core.http.cache.middleware import DOCUMENTED
from app.core.http.dependencies import DatabaseDep, SnapshotDep, open_snapshot
from app.core.http.errors import documented
from app.core.http.formats import FORMAT_DESCRIPTION, OTHER_FORMATS, Format, table_headers, table_response
from app.core.http.paging import TOTAL_HEADER
from app.rates import crud
from app.rates.schemas import (
    Conversion,
    ConversionQuery,
    CurrencyPublic,
    Day,
    RatesPublic,
    RatesQuery,
    SeriesPublic,
    SeriesQuery,
)
from app.rates.series import COLUMNS, LARGEST_KEPT, plan_series, write_series

router = APIRouter(tags=["rates"])

_PAST: Final = {"Cache-Control": "public, max-age=86400, immutable"}
"""Of answers about days that are over. An import can still add to them, so not for ever."""
_LATEST_ARRIVAL: Final = timedelta(days=7)
"""How far behind its day a refresh may bring a rate: some sources are silent over weekends and holidays."""


async def get_today(request: Request) -> date:
    """The day in UTC."""
    today: date = request.state.clock().date()
    return today


TodayDep = Annotated[date, Depends(get_today)]
DayParam = Annotated[Day, Path(alias="date", description="Such as 2026-11-21.", examples=["2026-11-20"])]
FirstParam = Annotated[Day, Path(alias="from", description="The first day.", examples=["2026-11-01"])]
LastParam = Annotated[Day, Path(alias="to", description="The last day.", examples=["2026-11-20"])]


def _in_formats(model: type[Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "content": OTHER_FORMATS}, **DOCUMENTED, **documented(404)}


@router.get(
    "/rates",
    summary="Latest rates",
    description="Of the last refresh, against any currency that it brought. Cross rates go through the source's base.",
    responses=_in_formats(RatesPublic),
    response_model=None,
    openapi_extra=access(Rule.EVERYONE),
)
async def get_latest_rates(session: SnapshotDep, query: Annotated[RatesQuery, Query()]) -> Response:
    return _rates_response(await crud.get_rates(session, query), query, {})


@router.get(
    "/rates/{from}..{to}",
    summary="Series of rates",
    description="By currency and day, all of one source: the one that has the most of it, or `source`. Long series are "
    "sent as they are read.",
    responses={**_in_formats(SeriesPublic), **documented(404, 413)},
    response_model=None,
    openapi_extra=access(Rule.EVERYONE),
)
async def get_series(
    request: Request,
    database: DatabaseDep,
    today: TodayDep,
    first: FirstParam,
    last: LastParam,
    query: Annotated[SeriesQuery, Query()],
) -> Response:
    _refuse_future({"from": first, "to": last}, today)
    if first > last:
        raise ValidationFailed({"from": "must not be behind the last day"})
    fmt = query.format or Format.JSON
    headers = table_headers(fmt, f"rates-{first}-{last}")
    async with open_snapshot(request, database) as session:
        series = await plan_series(session, first, last, query)
        if series.size <= LARGEST_KEPT:
            pieces = [piece async for piece in write_series(lambda: nullcontext(session), series, fmt)]
            return Response(b"".join(pieces), media_type=fmt.media_type, headers={**headers, **_caching(last, today)})
    # It takes longer than a connection may be held: each page is a unit of work of its own.
    stream = write_series(lambda: _reading_to_its_end(database), series, fmt)
    first_piece = await anext(stream)  # so that what fails at once is an answer, and not a broken connection
    return StreamingResponse(
        _chained(first_piece, stream), media_type=fmt.media_type, headers={**headers, "Cache-Control": "no-cache"}
    )


@router.get(
    "/rates/{date}",
    summary="Rates of a day",
    description="The rates in force on a day: the last known on or before it. `date` says of which day they are.",
    responses=_in_formats(RatesPublic),
    response_model=None,
    openapi_extra=access(Rule.EVERYONE),
)
async def get_rates_of_day(
    session: SnapshotDep, today: TodayDep, day: DayParam, query: Annotated[RatesQuery, Query()]
) -> Response:
    _refuse_future({"date": day}, today)
    rates = await crud.get_rates(session, query, on=day)
    return _rates_response(rates, query, _caching(day, today, found=rates.date))


@router.get(
    "/convert",
    summary="Convert an amount",
    description="By the latest rates or those of a day, exactly: nothing is rounded between the stored rates and "
    "`result`. The same currency is 1.",
    responses={**DOCUMENTED, **documented(404)},
    openapi_extra=access(Rule.EVERYONE),
)
async def convert(
    session: SnapshotDep,
    today: TodayDep,
    query: Annotated[ConversionQuery, Query()],
    response: Response,
) -> Conversion:
    if query.on is not None:
        _refuse_future({"date": query.on}, today)
    conversion = await crud.get_conversion(session, query)
    response.headers.update({} if query.on is None else _caching(query.on, today, found=conversion.date))
    return conversion


FormatParam = Annotated[Format | None, Query(alias="format", description=FORMAT_DESCRIPTION)]


@router.get(
    "/currencies",
    summary="List currencies",
    description="Every currency that a source ever quoted or that a stored country uses, in the order of the codes. "
    "Names, signs and decimals are those of CLDR.",
    response_model=None,
    responses={200: {"model": list[CurrencyPublic], "content": OTHER_FORMATS, "headers": TOTAL_HEADER}, **DOCUMENTED},
    openapi_extra=access(Rule.EVERYONE),
)
async def list_currencies(session: SnapshotDep, fmt: FormatParam = None) -> Response:
    rows = await crud.list_currencies(session)
    return table_response(fmt, "currencies", crud.CURRENCY_FIELDS, rows, headers={"X-Total-Count": str(len(rows))})


@asynccontextmanager
async def _reading_to_its_end(database: Database) -> AsyncIterator[AsyncSession]:
    """A reading of some milliseconds that is not given up where the client leaves, but the last one then.

    Given up, it would cost the connection, and on SQLite an error in the log.
    """
    await checkpoint_if_cancelled()
    with CancelScope(shield=True):
        async with database.reading() as session:
            yield session


async def _chained(first: bytes, others: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    leave_request()
    async for piece in others:
        yield piece


def _rates_response(rates: RatesPublic, query: RatesQuery, caching: dict[str, str]) -> Response:
    rows = ((str(rates.date), rates.base, code, rate, rates.source) for code, rate in rates.rates.items())
    return table_response(query.format, f"rates-{rates.date}", COLUMNS, rows, json=rates, headers=caching)


def _refuse_future(days: dict[str, date], today: date) -> None:
    # Sources may be a day ahead of UTC.
    problems = {name: "lies in the future" for name, day in days.items() if day > today + timedelta(days=1)}
    if problems:
        raise ValidationFailed(problems)


def _caching(day: date, today: date, *, found: date | None = None) -> dict[str, str]:
    """What is kept of an answer about a day; ``found`` is the day of the rates in it.

    Where that lies far before the day, the days in between may still be imported.
    """
    is_settled = day < today - _LATEST_ARRIVAL and (found is None or day - found <= _LATEST_ARRIVAL)
    return _PAST if is_settled else {}
