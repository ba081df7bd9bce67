"""The application: settings, routers, error handlers, layers. Wiring only."""

import gc
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from fastapi import Depends, FastAPI
from pwdlib import PasswordHash
from sqlalchemy.ext.asyncio import AsyncEngine

from app import TITLE, __version__
from app.audit import router as audit
from app.core.config.settings import Settings, load_settings
from app.core.http.errors import install_error_handlers
from app.core.http.middleware.authorization import check_rule
from app.core.http.middleware.credential_lookups import CredentialLookups
from app.core.http.request_notes import RequestNotes
from app.core.http.routes import RouteTable
from app.core.http.stack import add_layers
from app.core.http.static_files import add_files
from app.core.telemetry.counts import Counts
from app.core.telemetry.log import LogLines, configure_logging
from app.core.telemetry.tracing import TRACES_ONLY
from app.countries import router as countries
from app.currencies import router as currencies
from app.lifespan import running
from app.rates import router as rates
from app.refresh import router as refresh
from app.service import page
from app.service import router as status
from app.service.docs import add_docs
from app.sources.client import HttpClient
from app.tracking import router as tracking
from app.users import account_router as accounts
from app.users import router as users
from app.users.credentials import CredentialOwners, check_still_held


def create_app(
    settings: Settings | None = None,
    *,
    draw_multiplier: Callable[[], float] = lambda: random.uniform(1000, 2000),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Callable[[], float] = time.monotonic,
    lines: LogLines | None = None,
    hasher: PasswordHash | None = None,
    http: HttpClient | None = None,
    engine: AsyncEngine | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        settings: Read from the environment by default.
        draw_multiplier: Draws the random factor of the GDP estimate, from 1000 to 2000.
        clock: The time in UTC.
        monotonic: Monotonic seconds, for the age of cached answers, and of tokens and keys that are remembered.
        lines: Where log lines go; by default logging is set up to write them to standard error.
        hasher: Hashes passwords; argon2 with recommended parameters by default.
        http: Fetches from the sources, and stays open at the stop; by default a client is created and closed.
        engine: The database connections, which stay open at the stop; by default created from the settings and closed.
    """
    settings = settings or load_settings()
    lines = lines or configure_logging(settings)
    counts = Counts()
    notes = RequestNotes(settings, lines, counts)
    lookups = CredentialLookups(CredentialOwners(monotonic=monotonic).find, counts, monotonic=monotonic)

    lifespan = partial(
        running,
        settings=settings,
        counts=counts,
        lines=lines,
        notes=notes,
        lookups=lookups,
        draw_multiplier=draw_multiplier,
        clock=clock,
        monotonic=monotonic,
        hasher=hasher,
        http=http,
        engine=engine,
    )
    app = FastAPI(
        title=TITLE,
        version=__version__,
        lifespan=lifespan,
        redirect_slashes=False,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(check_rule)],
        generate_unique_id_function=lambda route: route.name,
        telemetry=TRACES_ONLY,
    )
    # Your account before the accounts of others: /users/me is not an id.
    for module in (status, refresh, countries, rates, currencies, accounts, users, tracking, audit):
        app.include_router(module.router)
    add_docs(app)
    add_files(app, "/assets", page.FILES)
    install_error_handlers(app)
    add_layers(
        *(app, settings),
        routes=RouteTable(app),
        counts=counts,
        notes=notes,
        find_principal=lookups.find,
        check_still_held=check_still_held,
    )
    return app


app = create_app()
# Imported objects stay for the life of the process; the garbage collector need not visit them.
gc.freeze()
