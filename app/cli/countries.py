"""``python -m app countries`` and ``python -m app export``."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from pydantic import ValidationError

from app.cli import terminal
from app.cli.terminal import JsonOption, errors, examples
from app.core.db.migrations import current_revision, why_not_migrated
from app.core.db.snapshots import Snapshot, snapshot_of
from app.core.errors import AppError, DatabaseUnavailable, in_one_line
from app.core.http.formats import Format, write_table
from app.core.http.paging import MAX_LIMIT
from app.core.problems import describe_invalid
from app.countries import crud
from app.countries.crud import CountryNotFound
from app.countries.schemas import CountryFilters, CountryPublic, CountrySort


class NotWritten(AppError):
    """The file could not be written; an existing one is unchanged."""

    title = "Not written"


T = TypeVar("T")

Region = Annotated[str | None, typer.Option(help="Only countries of these regions, separated by commas.")]
Currency = Annotated[str | None, typer.Option(help="Only countries with these currency codes, separated by commas.")]
Search = Annotated[
    str | None, typer.Option("--q", help="Only countries with this in a spelling or capital, or with this code.")
]
Sort = Annotated[
    CountrySort | None,
    typer.Option(
        metavar="ORDER",
        help="gdp, population, name or exchange_rate, with _asc or _desc; default: name, with --q the best match.",
    ),
]

_SHOWN: Final = ("name", "alpha2_code", "region", "population", "currency_code", "exchange_rate", "estimated_gdp")

commands: Final = typer.Typer(no_args_is_help=True)


@commands.command(
    "list",
    epilog=examples(
        "python -m app countries list --region africa --sort gdp_desc --limit 5",
        "python -m app countries list --currency eur,usd",
        "python -m app countries list --q land --json",
    ),
)
def list_countries(
    *,
    region: Region = None,
    currency: Currency = None,
    q: Search = None,
    sort: Sort = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=MAX_LIMIT, help="Maximum number of countries.")
    ] = None,
    offset: Annotated[
        int, typer.Option(metavar="N", min=0, max=1_000_000_000, help="Number of countries to skip.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """List stored countries, as GET /countries does.

    Rates are units of local currency for one US dollar. Estimated GDP is an illustration, not a statistic.
    """
    filters = _filters(region=region, currency=currency, q=q, sort=sort, limit=limit, offset=offset)
    countries, total = _read(lambda data: crud.list_countries(data, filters))
    if as_json:
        terminal.show_json(countries)
        return
    if countries:
        _show_table(countries)
    _show_number(len(countries), total, filters)


@commands.command(
    "show",
    epilog=examples(
        "python -m app countries show ghana",
        'python -m app countries show "cote d\'ivoire"',
        "python -m app countries show uk --json",
    ),
)
def show_country(
    name: Annotated[str, typer.Argument(help="Any known spelling of its name, or a code.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one country, as GET /countries/{name} does."""
    country = _read(lambda data: _find(data, name))
    if as_json:
        terminal.show_json(country)
        return
    rate, gdp = country.exchange_rate, country.estimated_gdp
    values = {
        "Name": country.name,
        "Codes": ", ".join(filter(None, (country.alpha2_code, country.alpha3_code))),
        "Capital": country.capital,
        "Region": country.region,
        "Population": f"{country.population:,}",
        "Currency": country.currency_code,
        "Rate": None if rate is None else f"{rate:,} {country.currency_code} for 1 USD",
        "Estimated GDP": None if gdp is None else f"{gdp:,.0f} USD, an illustration, not a statistic",
        "Flag": country.flag_url,
        "Refreshed": f"{country.last_refreshed_at:%Y-%m-%d %H:%M} UTC",
    }
    terminal.show_fields((field, value or "-") for field, value in values.items())


def export(
    *,
    format_: Annotated[
        Format | None, typer.Option("--format", help="Default: the file name's extension, else csv.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Written completely or not at all; default: standard output.")
    ] = None,
    region: Region = None,
    currency: Currency = None,
    q: Search = None,
    sort: Sort = None,
    fields: Annotated[str | None, typer.Option(help="Only these fields, separated by commas.")] = None,
) -> None:
    """Write stored countries as CSV, NDJSON or JSON, byte for byte like GET /countries?format=.

    An existing file is replaced once the new one is complete.
    """
    filters = _filters(region=region, currency=currency, q=q, sort=sort, fields=fields)
    ending = output.suffix.lower().removeprefix(".") if output else ""
    format_ = format_ or (Format(ending) if ending in list(Format) else Format.CSV)
    countries, total = _read(lambda data: crud.list_countries(data, filters))
    content = write_table(format_, filters.columns, (tuple(country.values()) for country in countries))
    if output is None:
        typer.echo(content, nl=False)
    else:
        with terminal.errors_in_one_line():
            write_file(output, content)
        errors().print(f"{total} countries written to {output}", soft_wrap=True)
    if not countries:
        _show_number(0, total, filters)


def _filters(**options: Any) -> CountryFilters:
    try:
        return CountryFilters(**options)
    except ValidationError as error:
        raise typer.BadParameter(f"--{in_one_line(describe_invalid(error, what='option'))}") from None


def _read(query: Callable[[Snapshot], Awaitable[T]]) -> T:
    """Read from the database; the connection is closed before anything is printed."""
    settings = terminal.read_settings_without_log()

    async def read() -> T:
        async with terminal.open_database(settings) as database:
            try:
                async with database.reading() as session:
                    return await query(snapshot_of(session))
            except DatabaseUnavailable as error:
                if "run: " not in str(error.details):
                    error.details = f"{error.details}; python -m app doctor says why"
                    raise
                async with database.reading() as session:
                    error.details = why_not_migrated(await current_revision(session)) or error.details
                raise

    return terminal.run(read())


async def _find(data: Snapshot, name: str) -> CountryPublic:
    try:
        return CountryPublic.model_validate(await crud.get_country(data, name), from_attributes=True)
    except CountryNotFound as error:
        _, total = await crud.list_countries(data, CountryFilters(limit=1))
        if total == 0:
            raise CountryNotFound("nothing is stored yet; run: python -m app refresh") from None
        raise CountryNotFound(f"{name}; {error.details}" if error.details else name) from None


def _show_number(shown: int, total: int, filters: CountryFilters) -> None:
    """Print the number of countries on standard error, so that standard output has only the table."""
    if total == 0:
        is_filtered = filters.region or filters.currency or filters.q
        nothing = "No country matches." if is_filtered else "Nothing is stored yet; run: python -m app refresh"
        errors().print(nothing, soft_wrap=True)
        return
    rest = filters.offset + shown < total
    more = f"; next: --offset {filters.offset + shown}" if shown and rest else ""
    errors().print(f"{shown} of {total} countries{more}", highlight=False)


def _show_table(countries: list[dict[str, Any]]) -> None:
    table = terminal.new_table(header_style="bold", pad_edge=False)
    for heading in ("name", "code", "region", "population", "cur.", "per USD", "GDP, M USD"):
        is_number = heading in ("population", "per USD", "GDP, M USD")
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number or heading == "cur.")
    for country in countries:
        name, code, region, population, currency, rate, gdp = (country[field] for field in _SHOWN)
        millions = "-" if gdp is None else f"{gdp / 1e6:,.1f}"
        # Enough decimals for a rate of 0.33, and not too many for one of 1,500.
        per_usd = "-" if rate is None else f"{rate:,.2f}" if rate >= 100 else f"{rate:,.4f}"
        table.add_row(name, code or "-", region or "-", f"{population:,}", currency or "-", per_usd, millions)
    terminal.show(table)


def write_file(path: Path, content: bytes) -> None:
    """Write a temporary file beside the target, then rename it: so that no reader sees a partial file.

    Raises:
        NotWritten: The details say why.
    """
    target = path.resolve()  # a symbolic link stays one
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    if target.exists() and not target.is_file():
        raise NotWritten(f"{path}: is not a regular file")
    try:
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise NotWritten(f"{path}: {error.strerror}") from error
