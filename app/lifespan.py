"""Start and stop: what lives as long as the application runs, and the state of a request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime, timedelta
from typing import TypedDict

import httpx
from fastapi import FastAPI
from loguru import logger
from prometheus_client import CollectorRegistry
from pwdlib import PasswordHash
from sqlalchemy.ext.asyncio import AsyncEngine

from app.audit.delivery import AuditDelivery
from app.core.config.settings import Settings
from app.core.db.data_version import DataVersion
from app.core.db.database import Database
from app.core.http.middleware.rate_limits import RateLimits
from app.core.telemetry.counts import Counts
from app.core.telemetry.log import LogLines
from app.core.telemetry.prometheus import create_registry
from app.core.telemetry.tracing import clean_spans
from app.refresh.crud import Refresher
from app.refresh.schedule import keep_fresh, update_data_gauges
from app.sources.client import create_http_client
from app.users.passwords import Passwords
from app.users.throttle import SignInThrottle


class State(TypedDict):
    """The attributes of ``request.state``."""

    database: Database
    data_version: DataVersion
    refresher: Refresher
    passwords: Passwords
    sign_in_throttle: SignInThrottle
    rate_limits: RateLimits
    token_lifetime: timedelta
    metrics: CollectorRegistry
    clock: Callable[[], datetime]


@asynccontextmanager
async def running(
    _: FastAPI,
    *,
    settings: Settings,
    counts: Counts,
    lines: LogLines,
    draw_multiplier: Callable[[], float],
    clock: Callable[[], datetime],
    monotonic: Callable[[], float],
    hasher: PasswordHash | None,
    http: httpx.AsyncClient | None,
    engine: AsyncEngine | None,
) -> AsyncIterator[State]:
    """Start everything, and stop it again; see ``create_app()`` for the arguments."""
    if settings.admin_api_key is None:
        logger.warning("ADMIN_API_KEY is not set: everybody who reaches this service may do everything with it")
    clean_spans(lines.hide)
    database = Database(settings, engine)
    data_version = DataVersion(database, settings, monotonic=monotonic)
    passwords = Passwords(hasher)
    rate_limits = RateLimits(settings.rate_limits, settings.rate_limit_storage, counts)
    async with nullcontext(http) if http else create_http_client() as sources:
        refresher = Refresher(database, sources, settings, counts=counts, draw_multiplier=draw_multiplier, clock=clock)
        delivery = AuditDelivery(database, sources, settings)
        background = [
            asyncio.create_task(keep_fresh(database, refresher, settings), name="keep fresh"),
            asyncio.create_task(update_data_gauges(database, counts), name="data gauges"),
        ]
        delivery.start()
        try:
            yield {
                "database": database,
                "data_version": data_version,
                "refresher": refresher,
                "passwords": passwords,
                "sign_in_throttle": SignInThrottle(monotonic=monotonic),
                "rate_limits": rate_limits,
                "token_lifetime": timedelta(hours=settings.token_hours),
                "metrics": create_registry(database.pool, counts, clock=clock, workers=settings.web_concurrency),
                "clock": clock,
            }
        finally:
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await refresher.close()
            await delivery.close()
            passwords.close()
            await rate_limits.close()
            await data_version.close()
            if engine is None:
                await database.close()
            lines.flush()
