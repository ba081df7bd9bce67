"""Start and stop: what lives as long as the application runs, and the state of a request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TypedDict

from fastapi import FastAPI
from loguru import logger
from pwdlib import PasswordHash
from sqlalchemy.ext.asyncio import AsyncEngine

from app.audit.delivery import AuditDelivery
from app.core.config.database_url import ignored_options
from app.core.config.settings import Settings
from app.core.db.data_version import DataVersion
from app.core.db.database import Database
from app.core.db.snapshots import Snapshot, Snapshots
from app.core.http.cache.ready import ReadyAnswers
from app.core.http.cache.store import ResponseStore
from app.core.http.middleware.credential_lookups import CredentialLookups
from app.core.http.middleware.rate_limits import RateLimits
from app.core.http.request_notes import RequestNotes
from app.core.telemetry.counts import Counts
from app.core.telemetry.log import LogLines
from app.core.telemetry.tracing import clean_spans
from app.countries.crud import load_image, load_status
from app.countries.stored import load_countries
from app.rates.in_force import RatesNotFound, find_table
from app.rates.series_output import SeriesSlots
from app.rates.store import last_known_rates
from app.refresh.crud import Refresher
from app.refresh.schedule import keep_fresh
from app.service.readiness import ReadinessCheck
from app.sources.client import HttpClient, create_http_client
from app.sources.rates import source_name
from app.users.passwords import Passwords
from app.users.sign_in import LIMITS


class State(TypedDict):
    """The attributes of ``request.state``."""

    database: Database
    data_version: DataVersion
    snapshots: Snapshots
    responses: ResponseStore
    ready: ReadyAnswers | None
    """None if every read has to be counted by a limit."""
    notes: RequestNotes
    refresher: Refresher
    passwords: Passwords
    rate_limits: RateLimits
    credential_lookups: CredentialLookups
    readiness: ReadinessCheck
    series_slots: SeriesSlots
    token_lifetime: timedelta
    counts: Counts
    workers: int
    clock: Callable[[], datetime]


@asynccontextmanager
async def running(
    _: FastAPI,
    *,
    settings: Settings,
    counts: Counts,
    lines: LogLines,
    notes: RequestNotes,
    lookups: CredentialLookups,
    draw_multiplier: Callable[[], float],
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    hasher: PasswordHash | None,
    http: HttpClient | None,
    engine: AsyncEngine | None,
) -> AsyncIterator[State]:
    """Start everything, and stop it again; see ``create_app()`` for the arguments."""
    if settings.allow_anonymous is not None:
        logger.warning("ALLOW_ANONYMOUS={}: anyone who can reach this service may do that", settings.allow_anonymous)
    if settings.admin_api_key is None:
        logger.warning("ADMIN_API_KEY is not set: anyone on this machine may change everything")
    if ignored := ignored_options(settings.database_url.get_secret_value()):
        logger.warning("DATABASE_URL: ignored, because they mean nothing to this service: {}", ", ".join(ignored))
    clean_spans(lines.hide)
    async with AsyncExitStack() as stack:  # closes in reverse order, and everything even if one of them fails
        stack.callback(lines.flush)
        database = Database(settings, engine)
        if engine is None:
            stack.push_async_callback(database.close)
        data_version = DataVersion(database, settings, monotonic=monotonic)
        stack.push_async_callback(data_version.close)
        snapshots = Snapshots(database, data_version, partial(_load_ahead, settings))
        stack.push_async_callback(snapshots.close)
        await snapshots.start()
        rate_limits = RateLimits(
            {**settings.rate_limits, **LIMITS},
            settings.rate_limit_storage,
            counts,
            clock=lambda: clock().timestamp(),
        )
        stack.push_async_callback(rate_limits.close)
        readiness = ReadinessCheck(database, monotonic=monotonic)
        stack.push_async_callback(readiness.close)
        passwords = Passwords(hasher)
        stack.callback(passwords.close)
        if http is None:
            http = await stack.enter_async_context(create_http_client())
        delivery = AuditDelivery(database, http, settings)
        stack.push_async_callback(delivery.close)
        refresher = Refresher(
            database, snapshots, http, settings, counts=counts, draw_multiplier=draw_multiplier, clock=clock
        )
        stack.push_async_callback(refresher.close)
        delivery.start()
        fresh = asyncio.create_task(keep_fresh(database, refresher, settings, clock=clock), name="keep fresh")
        stack.push_async_callback(_cancel, fresh)
        ready = ReadyAnswers(data_version, counts, notes, clock=clock)
        yield {
            "database": database,
            "data_version": data_version,
            "snapshots": snapshots,
            "responses": ResponseStore(settings.cache_max_bytes, on_drop=ready.clear),
            "ready": ready if settings.rate_limit_reads == "off" else None,
            "notes": notes,
            "refresher": refresher,
            "passwords": passwords,
            "rate_limits": rate_limits,
            "credential_lookups": lookups,
            "readiness": readiness,
            "series_slots": SeriesSlots(counts),
            "token_lifetime": timedelta(hours=settings.token_hours),
            "counts": counts,
            "workers": settings.web_concurrency,
            "clock": clock,
        }


async def _load_ahead(settings: Settings, data: Snapshot) -> None:
    """Read what most requests will need: countries, picture, latest rates, and those that a refresh compares with."""
    await data.read(load_countries)
    await data.read(load_status)
    await data.read(load_image)
    with suppress(RatesNotFound):
        await find_table(data, "USD")
    await data.read(last_known_rates, *map(source_name, settings.rate_sources))


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
