"""Holds the countries against a second source per field."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from app.core.db.keys import name_key
from scripts.bundled_data.factbook import Facts

_POPULATION_MARGIN: Final = 0.1
_GDP_FACTOR: Final = 1.5
"""The World Bank's table is a year older, and a devaluation or a new base year moves much."""
_CONTINENTS: Final = {
    "AF": "Africa",
    "AN": "Antarctic",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "Americas",
    "OC": "Oceania",
    "SA": "Americas",
}

Row = Mapping[str, Any]


class Sources(NamedTuple):
    """The second sources, by alpha-2 code."""

    geonames: Mapping[str, Row]
    factbook: Mapping[str, Facts]
    world_bank: Mapping[str, Mapping[str, str]]
    iso_currencies: Mapping[str, frozenset[str]]
    """Codes by the country names of ISO 4217's list, folded."""
    codes_by_name: Mapping[str, str]
    """Alpha-2 codes by our spellings, folded."""


class Finding(NamedTuple):
    """One country whose value the second source does not have."""

    alpha2: str
    ours: str
    theirs: str
    reason: str | None
    """Why ours is right, or we have none; None if nobody has listed a reason."""


class Field(NamedTuple):
    """The comparison of one field."""

    name: str
    source: str
    right: int
    listed: tuple[Finding, ...]
    """Differences with a reason."""
    off: tuple[Finding, ...]
    """Differences without one."""
    missing: tuple[Finding, ...]
    """Countries for which we have no value, and why."""


def compare(countries: Iterable[Row], sources: Sources, reasons: Mapping[str, Mapping[str, str]]) -> list[Field]:
    """Compare every field of every country.

    Args:
        countries: The rows of countries.json.
        sources: What they are held against.
        reasons: By field and alpha-2 code, why our value is right where the second source has another or none.
    """
    rows = list(countries)
    return [_field(name, source, rows, reasons.get(name, {}), check, sources) for name, source, check in _CHECKS]


def refuse_unlisted(fields: Iterable[Field], reasons: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse differences without a reason, and reasons without a difference.

    Raises:
        ValueError: Names the first of each field.
    """
    for field in fields:
        for found in (*field.off, *(found for found in field.missing if not found.reason)):
            raise ValueError(
                f"{found.alpha2}: {field.name} is {found.ours}, but {found.theirs} in {field.source}; "
                "correct it or list it with its reason in reasons.json"
            )
        if unused := reasons.get(field.name, {}).keys() - {found.alpha2 for found in (*field.listed, *field.missing)}:
            raise ValueError(f"reasons.json: {field.name} no longer differs in {', '.join(sorted(unused))}")


Verdict = tuple[bool | None, str, str]
"""Whether the value is right (None: we have none), ours, and theirs."""


def _field(
    name: str,
    source: str,
    rows: list[Row],
    reasons: Mapping[str, str],
    check: Callable[[Row, Sources], Verdict],
    sources: Sources,
) -> Field:
    right = 0
    missing: list[Finding] = []
    findings: list[Finding] = []
    for row in rows:
        is_right, ours, theirs = check(row, sources)
        if is_right:
            right += 1
        else:
            found = Finding(row["alpha2"], ours, theirs, reasons.get(row["alpha2"]))
            (missing if is_right is None else findings).append(found)
    listed = tuple(found for found in findings if found.reason)
    off = tuple(found for found in findings if not found.reason)
    return Field(name, source, right, listed, off, tuple(missing))


def _alpha2(row: Row, sources: Sources) -> Verdict:
    return row["alpha2"] in sources.geonames, row["alpha2"], "absent"


def _alpha3(row: Row, sources: Sources) -> Verdict:
    theirs = sources.geonames[row["alpha2"]]["iso3"]
    return row["alpha3"] == theirs, row["alpha3"], theirs


def _numeric(row: Row, sources: Sources) -> Verdict:
    theirs = str(sources.geonames[row["alpha2"]]["isonumeric"]).zfill(3)
    return row["numeric"] == (None if theirs == "000" else theirs), str(row["numeric"]), theirs


def _name(row: Row, sources: Sources) -> Verdict:
    theirs = sources.geonames[row["alpha2"]]["name"].strip()
    return sources.codes_by_name.get(name_key(theirs)) == row["alpha2"], row["name"], theirs


def _iso_name(row: Row, sources: Sources) -> Verdict:
    found = [name for name in sources.iso_currencies if sources.codes_by_name.get(name) == row["alpha2"]]
    return bool(found), row["name"], "no name that leads here"


def _region(row: Row, sources: Sources) -> Verdict:
    theirs = _CONTINENTS[sources.geonames[row["alpha2"]]["continentcode"]]
    return row["region"] == theirs, row["region"], theirs


def _capital(row: Row, sources: Sources) -> Verdict:
    economy = sources.factbook.get(row["alpha2"])
    theirs = [sources.geonames[row["alpha2"]]["capital"], (economy and economy.capital) or ""]
    known = {name_key(name) for name in (*row["capitals"], *row.get("older_capitals", ()))}
    is_right = any(name_key(name) in known for name in theirs) if known else not any(theirs)
    return is_right, ", ".join(row["capitals"]) or "none", " or ".join(filter(None, theirs)) or "none"


def _currencies(row: Row, sources: Sources) -> Verdict:
    theirs = {
        code
        for name, codes in sources.iso_currencies.items()
        if sources.codes_by_name.get(name) == row["alpha2"]
        for code in codes
    }
    if not theirs:  # ISO 4217 names no currency of Palestine, and does not have Kosovo
        theirs = {sources.geonames[row["alpha2"]]["currencycode"]} - {""}
    ours = row["currencies"]
    is_right = ours[0] in theirs if ours and theirs else not ours and not theirs
    return is_right, ", ".join(ours) or "none", ", ".join(sorted(theirs)) or "none"


def _population(row: Row, sources: Sources) -> Verdict:
    bank, book = sources.world_bank.get(row["alpha2"], {}), sources.factbook.get(row["alpha2"])
    if bank.get("population"):
        theirs, source = int(bank["population"]), "World Bank 2024"
    elif book and book.population is not None:
        theirs, source = book.population, "Factbook"
    else:
        theirs, source = sources.geonames[row["alpha2"]]["population"], "GeoNames"
    ours = row["population"]
    return abs(ours - theirs) <= _POPULATION_MARGIN * theirs, f"{ours:,}", f"{theirs:,} ({source})"


def _gdp(row: Row, sources: Sources) -> Verdict:
    bank, ours = sources.world_bank.get(row["alpha2"], {}), row["reference_gdp"]
    if ours is None:
        return None, "none", _billions(int(bank["gdp"])) if bank.get("gdp") else "none"
    if not bank.get("gdp"):
        return False, _billions(ours), "none"
    theirs = int(bank["gdp"])
    return (
        1 / _GDP_FACTOR <= ours / theirs <= _GDP_FACTOR,
        _billions(ours),
        f"{_billions(theirs)} in {bank['gdp_year']}",
    )


def _billions(dollars: int) -> str:
    return f"{dollars / 1e9:,.1f} billion"


_CHECKS: Final[tuple[tuple[str, str, Callable[[Row, Sources], Verdict]], ...]] = (
    ("alpha2", "GeoNames", _alpha2),
    ("alpha3", "GeoNames", _alpha3),
    ("numeric", "GeoNames", _numeric),
    ("name", "GeoNames", _name),
    ("spellings", "ISO 3166 names in ISO 4217", _iso_name),
    ("region", "GeoNames", _region),
    ("capitals", "GeoNames or Factbook", _capital),
    ("currencies", "ISO 4217, else GeoNames", _currencies),
    ("population", "World Bank, Factbook or GeoNames", _population),
    ("reference_gdp", "World Bank", _gdp),
)
