"""HTTP routes of exchange rates: latest, of a day, over a range of days, and conversion."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.core.errors import ValidationFailed
from app.core.http.access import Rule, access
from app.core.http.cache.middleware import DOCUMENTED
from app.core.http.dependencies import DatabaseDep, SnapshotDep, TodayDep, open_snapshot
from app.core.http.errors import documented
from app.core.http.formats import OTHER_FORMATS, Format, table_headers, table_response
from app.core.http.routes import SegmentRoute
from app.rates import crud, schemas
from app.rates.series import LARGEST_KEPT, plan_series
from app.rates.series_output import COLUMNS, SeriesSlots, write_whole

router = APIRouter(tags=["rates"], route_class=SegmentRoute)

_SETTLED: Final = {"Cache-Control": "public, max-age=86400, immutable"}
"""Headers of days that no refresh changes; only for a day, because an import can still add to them."""
_LATEST_ARRIVAL: Final = timedelta(days=7)
"""How late a refresh may bring a day's rates: some sources pause over weekends and holidays."""


DayParam = Annotated[schemas.Day, Path(alias="date", description="Such as 2026-11-21.", examples=["2026-11-20"])]
FirstParam = Annotated[schemas.Day, Path(alias="from", description="First day of the range.", examples=["2026-11-01"])]
LastParam = Annotated[schemas.Day, Path(alias="to", description="Last day of the range.", examples=["2026-11-20"])]


def _in_formats(model: type[Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "content": OTHER_FORMATS}, **DOCUMENTED, **documented(404)}


@router.get(
    "/rates",
    summary="Get the latest rates",
    description="The newest stored rates, against any currency that their source quotes. Cross rates are computed "
    "through the source's base.",
    responses=_in_formats(schemas.RatesPublic),
    response_model=None,
    openapi_extra=access(Rule.EVERYONE),
)
async def get_latest_rates(session: SnapshotDep, query: Annotated[schemas.RatesQuery, Query()]) -> Response:
    return _rates_response(await crud.get_rates(session, query), query.format)


@router.get(
    "/rates/{from}..{to}",
    summary="Get a series of rates",
    description="Rates by currency and day, all from one source: `source`, or the one that has the most of what is "
    "asked for. A long series is streamed.",
    responses={**_in_formats(schemas.SeriesPublic), **documented(404, 413, 503)},
    response_model=None,
    openapi_extra=access(Rule.EVERYONE),
)
async def get_series(
    request: Request,
    database: DatabaseDep,
    today: TodayDep,
    first: FirstParam,
    last: LastParam,
    query: Annotated[schemas.SeriesQuery, Query()],
) -> Response:
    _refuse_future({"from": first, "to": last}, today)
    if first > last:
        raise ValidationFailed({"from": "must not be after `to`"})
    fmt = query.format or Format.JSON
    headers = table_headers(fmt, f"rates-{first}-{last}")
    async with open_snapshot(request, database) as session:
        series = await plan_series(session, first, last, query)
        if series.size <= LARGEST_KEPT:
            if _is_settled(last, today):
                headers |= _SETTLED
            return Response(await write_whole(session, series, fmt), headers=headers)
    # After the session is closed: a connection may not be held for as long as a client reads.
    slots: SeriesSlots = request.state.series_slots
    pieces = await slots.start(database, series, fmt)
    return StreamingResponse(pieces, headers={**headers, "Cache-Control": "no-cache"})


@router.get(
    "/rates/{date}",
    summary="Get the rates of a day",
    description="The rates in force on a day: the last ones published on or before it. `date` in the response is the "
    "day they were published for.",
    responses=_in_formats(schemas.RatesPublic),
    response_model=None,
    openapi_extra=access(Rule.EVERYONE),
)
async def get_rates_of_day(
    session: SnapshotDep, today: TodayDep, day: DayParam, query: Annotated[schemas.RatesQuery, Query()]
) -> Response:
    _refuse_future({"date": day}, today)
    rates = await crud.get_rates(session, query, on=day)
    return _rates_response(rates, query.format, is_final=_is_settled(day, today, found=rates.date))


@router.get(
    "/convert",
    summary="Convert an amount",
    description="Uses the latest rates or those of a day. Exact: nothing is rounded between the stored rates and "
    "`result`. From a currency to itself the rate is 1.",
    responses={**DOCUMENTED, **documented(404)},
    openapi_extra=access(Rule.EVERYONE),
)
async def convert(
    session: SnapshotDep, today: TodayDep, query: Annotated[schemas.ConversionQuery, Query()], response: Response
) -> schemas.Conversion:
    _refuse_future({} if query.on is None else {"date": query.on}, today)
    conversion = await crud.get_conversion(session, query)
    if query.on is not None and _is_settled(query.on, today, found=conversion.date):
        response.headers.update(_SETTLED)
    return conversion


def _refuse_future(days: Mapping[str, date], today: date) -> None:
    """Raise ValidationFailed if a day, by its parameter, is in the future."""
    # Sources may be a day ahead of UTC.
    problems = {name: "is in the future" for name, day in days.items() if day > today + timedelta(days=1)}
    if problems:
        raise ValidationFailed(problems)


def _is_settled(day: date, today: date, *, found: date | None = None) -> bool:
    """Whether refreshes can no longer change the rates in force on a day, those of the day ``found``.

    If ``found`` is long before the day, an import may still add the days in between.
    """
    return day < today - _LATEST_ARRIVAL and (found is None or day - found <= _LATEST_ARRIVAL)


def _rates_response(rates: schemas.RatesPublic, fmt: Format | None, *, is_final: bool = False) -> Response:
    rows = ((str(rates.date), rates.base, code, rate, rates.source) for code, rate in rates.rates.items())
    headers = _SETTLED if is_final else None
    return table_response(fmt, f"rates-{rates.date}", COLUMNS, rows, json=rates, headers=headers)
