"""HTTP routes of exchange rates: latest, of a day, over a range of days, and conversion."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from email.utils import format_datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json

from app.core.db.database import Database
from app.core.errors import ValidationFailed
from app.core.http.access import Rule, access
from app.core.http.cache.middleware import DOCUMENTED
from app.core.http.dependencies import DatabaseDep, TodayDep, get_data
from app.core.http.errors import documented
from app.core.http.formats import OTHER_FORMATS, Format, table_headers, table_response
from app.core.http.routes import SegmentRoute
from app.rates import crud, schemas
from app.rates.series import LARGEST_KEPT, plan_series
from app.rates.series_output import COLUMNS, SeriesSlots, write_whole

router = APIRouter(tags=["rates"], route_class=SegmentRoute)

_SETTLED: Final = {"Cache-Control": "public, max-age=86400, immutable"}
"""Headers of a series that no refresh changes; only for a day, because an import can still add to it."""
_LATEST_ARRIVAL: Final = timedelta(days=7)
"""How late a refresh may bring a day's rates: some sources pause over weekends and holidays."""


DayParam = Annotated[schemas.DayInPath, Path(alias="date", description="Such as 2026-11-21.", examples=["2026-11-20"])]
FirstParam = Annotated[schemas.Day, Path(alias="from", description="First day of the range.", examples=["2026-11-01"])]
LastParam = Annotated[schemas.Day, Path(alias="to", description="Last day of the range.", examples=["2026-11-20"])]


def _in_formats(model: type[Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model, "content": OTHER_FORMATS}, **DOCUMENTED, **documented(404)}


_LATEST: Final[dict[str, Any]] = {
    "summary": "Get the latest rates",
    "description": "The newest stored rates, against any currency that their source quotes. Cross rates are computed "
    "through the source's base.",
    "responses": _in_formats(schemas.RatesPublic),
    "response_model": None,
    "openapi_extra": access(Rule.EVERYONE),
}


@router.get("/rates", **_LATEST)
@router.get("/rates/latest", name="get_newest_rates", **_LATEST)
async def get_latest_rates(
    request: Request, today: TodayDep, query: Annotated[schemas.RatesQuery, Query()]
) -> Response:
    return _rates_response(await crud.get_rates(await get_data(request), query, today=today), query.format)


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
    return await _series_response(request, database, first, last, query, today)


@router.get(
    "/rates/{from}..",
    summary="Get a series of rates up to the latest",
    description="Like a series with an end, up to the newest day that its source has.",
    responses={**_in_formats(schemas.SeriesPublic), **documented(404, 413, 503)},
    response_model=None,
    openapi_extra=access(Rule.EVERYONE),
)
async def get_series_to_latest(
    request: Request,
    database: DatabaseDep,
    today: TodayDep,
    first: FirstParam,
    query: Annotated[schemas.SeriesQuery, Query()],
) -> Response:
    _refuse_future({"from": first}, today)
    return await _series_response(request, database, first, None, query, today)


async def _series_response(
    request: Request, database: Database, first: date, last: date | None, query: schemas.SeriesQuery, today: date
) -> Response:
    fmt, data = query.format or Format.JSON, await get_data(request)
    series = await plan_series(data, first, last, query, today=today)
    headers = table_headers(fmt, f"rates-{first}-{series.last}")
    if series.size <= LARGEST_KEPT:
        if last is not None and _is_settled(last, today):
            headers |= _SETTLED
        whole = await data.read_once(lambda session: write_whole(session, series, fmt))
        return Response(whole, headers=headers)
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
    request: Request, today: TodayDep, day: DayParam, query: Annotated[schemas.RatesQuery, Query()]
) -> Response:
    _refuse_future({"date": day}, today)
    rates = await crud.get_rates(await get_data(request), query, today=today, on=day)
    return _rates_response(rates, query.format, headers=_caching(day, today, found=[rates.date, *rates.older.values()]))


@router.get(
    "/convert",
    summary="Convert an amount",
    description="Uses the latest rates or those of a day. `result` is exactly `amount` x `rate`, where the rate has 20 "
    "significant digits. From a currency to itself the rate is 1. With several codes in `to` the response is a list; "
    "all its rates are of one day and source, unless no source quotes all of the currencies.",
    responses={200: {"model": schemas.Conversions}, **DOCUMENTED, **documented(404)},
    response_model=None,
    openapi_extra=access(Rule.EVERYONE),
)
async def convert(request: Request, today: TodayDep, query: Annotated[schemas.ConversionQuery, Query()]) -> Response:
    _refuse_future({} if query.on is None else {"date": query.on}, today)
    found = await crud.get_conversions(await get_data(request), query, today=today)
    content = to_json(found if len(found) > 1 else found[0], by_alias=True)
    days = [conversion.date for conversion in found]
    headers = {} if query.on is None else _caching(query.on, today, found=days)
    return Response(content, media_type="application/json", headers=headers)


def _refuse_future(days: Mapping[str, date], today: date) -> None:
    """Raise ValidationFailed if a day, by its parameter, is in the future."""
    # Sources may be a day ahead of UTC.
    problems = {name: "is in the future" for name, day in days.items() if day > today + timedelta(days=1)}
    if problems:
        raise ValidationFailed(problems)


def _is_settled(day: date, today: date) -> bool:
    """Whether refreshes can no longer bring rates of a day."""
    return day < today - _LATEST_ARRIVAL


def _caching(day: date, today: date, *, found: Sequence[date]) -> dict[str, str]:
    """Headers of the rates in force on a day, which are those of the days ``found``.

    If one of these is long before the day, an import may still add the days in between. Settled rates may be used
    without asking until midnight, because ``age_days`` changes then. ``Expires`` holds at any time that the finished
    bytes are sent; a ``max-age`` would not.
    """
    if not _is_settled(day, today) or any(day - earlier > _LATEST_ARRIVAL for earlier in found):
        return {}
    midnight = datetime.combine(today + timedelta(days=1), time.min, UTC)
    return {"Cache-Control": "public, immutable", "Expires": format_datetime(midnight, usegmt=True)}


def _rates_response(
    rates: schemas.RatesPublic, fmt: Format | None, *, headers: Mapping[str, str] | None = None
) -> Response:
    days = {code: str(day) for code, day in rates.older.items()}
    rows = (
        (days.get(code, str(rates.date)), rates.base, code, rate, rates.source) for code, rate in rates.rates.items()
    )
    return table_response(fmt, f"rates-{rates.date}", COLUMNS, rows, json=rates, headers=headers)
