"""``python -m app refresh``."""

from typing import Annotated

import typer

from app.cli.terminal import JsonOption, bring_up_to_date, open_database, read_settings, run, show_fields, show_json
from app.core.config.settings import Settings
from app.core.db.data_version import DataVersion
from app.core.db.snapshots import Snapshots
from app.countries.stored import load_countries
from app.refresh.crud import Refresher
from app.refresh.schemas import KeptValue, RefreshResult, to_force
from app.sources.client import create_http_client


def refresh(
    codes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CODE]...", help="With --force: only of these currencies, such as SYP."),
    ] = None,
    *,
    source: Annotated[
        str | None, typer.Option(help="Take countries and rates from this source, such as bundled.")
    ] = None,
    countries: Annotated[str | None, typer.Option(metavar="URL", help="Take the countries from this address.")] = None,
    rates: Annotated[str | None, typer.Option(metavar="URL", help="Take the rates from this address.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Accept jumps of rates, and losses of countries.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Refresh the stored countries and rates, without a running server."""
    accepted = _to_force(codes, force=force)
    chosen = {"country_sources": countries or source, "rate_sources": rates or source}
    settings = read_settings(**{name: value for name, value in chosen.items() if value is not None})
    bring_up_to_date(settings)
    result = run(_refresh(settings, force=accepted), doing="Fetching countries and rates")
    if as_json:
        show_json(result)
        return
    show_fields(
        [
            ("Countries", f"{result.total_countries} ({result.inserted} new, {result.updated} updated)"),
            ("Sources", f"countries from {result.sources.countries}, rates from {result.sources.rates}"),
            ("Rates of", f"{result.rates_date}{', stale: no source has newer ones' if result.stale else ''}"),
            *(
                [("No rate", f"{result.countries_without_rate} of {result.total_countries} countries")]
                if result.countries_without_rate
                else []
            ),
            ("Took", f"{result.duration_ms} ms"),
            *(
                ("Off peg", f"{found.code} is {found.rate:g} per {found.base} instead of {found.expected:g}")
                for found in result.implausible_rates
            ),
            *(("Skipped", f"{skipped.name}: {skipped.reason}") for skipped in result.skipped),
            *(("Kept", _kept(kept)) for kept in result.kept),
        ]
    )


def _to_force(codes: list[str] | None, *, force: bool) -> bool | str:
    if not codes:
        return force
    if not force:
        raise typer.BadParameter("currency codes are given with --force only")
    try:
        return to_force(",".join(codes))
    except ValueError as error:
        raise typer.BadParameter(f"--force {error}") from None


async def _refresh(settings: Settings, *, force: bool | str) -> RefreshResult:
    async with open_database(settings) as database, create_http_client() as http:
        versions = DataVersion(database, settings)
        snapshots = Snapshots(database, versions, lambda data: data.read(load_countries))
        refresher = Refresher(database, snapshots, http, settings)
        try:
            return await refresher.refresh(refresher.order(force=force), guard=None)
        finally:
            for part in (refresher, snapshots, versions):
                await part.close()


def _kept(kept: KeptValue) -> str:
    """One line: what was stored in place of what, and why."""
    values = f" {kept.value} instead of {kept.source_value}" if kept.value else ""
    return f"{kept.name}: {kept.field}{values}, {kept.reason}"
