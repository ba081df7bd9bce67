"""All stored countries in memory: found, filtered and sorted without the database."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from operator import attrgetter
from typing import Any, Final, NamedTuple

from sqlmodel import col
from sqlmodel.ext.asyncio.session import AsyncSession

from app.core.db.keys import name_key
from app.core.db.queries import execute, select_columns
from app.countries.models import Country
from app.countries.schemas import CountryFilters, CountrySort
from app.sources import reference
from app.sources.spellings import alpha2_of, search

_AT_ONCE: Final = 1_000
"""Countries per query, which are read in 10 ms; other requests are answered between two queries."""


class CountryRow(NamedTuple):
    """One stored country: what a response may show of it, and the keys by which it is found."""

    id: int
    name: str
    alpha2_code: str | None
    alpha3_code: str | None
    capital: str | None
    region: str | None
    population: int
    currency_code: str | None
    exchange_rate: float | None
    estimated_gdp: float | None
    flag_url: str | None
    last_refreshed_at: datetime
    population_year: int | None
    name_key: str
    region_key: str | None

    @property
    def reference_gdp(self) -> int | None:
        """Not stored but known to us: nominal GDP in US dollars; None if unknown."""
        known = reference.countries().get(self.alpha2_code or "")
        return known.reference_gdp if known else None

    @property
    def reference_gdp_year(self) -> int | None:
        """Year of ``reference_gdp``; None without one."""
        known = reference.countries().get(self.alpha2_code or "")
        return known.reference_gdp_year if known else None

    def select(self, fields: tuple[str, ...]) -> dict[str, Any]:
        """These fields by name, in their order."""
        return {field: getattr(self, field) for field in fields}


_QUERY: Final = select_columns(*(getattr(Country, field) for field in CountryRow._fields)).order_by(col(Country.id))
_SORTED_BY: Final = {"name": "name_key", "population": "population", "gdp": "estimated_gdp", "rate": "exchange_rate"}


class Countries:
    """The countries of one version of the data; never changed."""

    def __init__(self, rows: Iterable[CountryRow]) -> None:
        self.by_name: Final = sorted(rows, key=lambda row: (row.name_key, row.id))
        """By the key of the name, equal ones by id."""
        self._orders: dict[CountrySort, Sequence[CountryRow]] = {CountrySort.NAME_ASC: self.by_name}
        first = self.by_name[::-1]  # of equal keys, the last one in a dictionary wins
        self._by_key = {row.name_key: row for row in first}
        self._by_code = {row.alpha3_code: row for row in first} | {row.alpha2_code: row for row in first}

    @property
    def estimates(self) -> list[tuple[str, float | None]]:
        """Name and estimated GDP of each."""
        return [(row.name, row.estimated_gdp) for row in self.by_name]

    def without(self, country: CountryRow) -> "Countries":
        """All others."""
        return Countries(row for row in self.by_name if row.id != country.id)

    @cached_property
    def users_of_currencies(self) -> Mapping[str, Sequence[str]]:
        """Alpha-2 codes, or else names, of the countries whose first currency it is, by code."""
        users: dict[str, list[str]] = defaultdict(list)
        for row in self.by_name:
            if row.currency_code is not None:
                users[row.currency_code].append(row.alpha2_code or row.name)
        return dict(users)

    def get(self, name: str) -> CountryRow | None:
        """The country with this name or code, or with a spelling or code that we know; in this order."""
        alpha2 = alpha2_of(name)
        return (
            self._by_key.get(name_key(name))
            or self._by_code.get(_code(name) or "")
            or (self.with_alpha2(alpha2) if alpha2 else None)
        )

    def with_alpha2(self, alpha2: str) -> CountryRow | None:
        """The country with this alpha-2 code."""
        return self._by_code.get(alpha2)

    def find(self, filters: CountryFilters) -> Sequence[CountryRow]:
        """The countries that pass the filters, in the requested order; a lone accent, whose key is empty, finds none.

        Texts are searched for in names and capitals, known to us or only stored, and as codes.
        """
        found = self._in_order(filters.sort or CountrySort.NAME_ASC)
        if filters.region is not None:
            # The whole text too: a region of a source may have a comma.
            keys = {name_key(region) for region in (filters.region, *filters.region.split(","))} - {""}
            found = [row for row in found if row.region_key in keys]
        if filters.currency is not None:
            codes = {code.strip().upper() for code in filters.currency.split(",")}
            found = [row for row in found if row.currency_code in codes]
        if filters.q is not None:
            ranks = _ranks(filters.q, found)
            found = [row for row in found if row.id in ranks]
            if filters.sort is None:
                found.sort(key=lambda row: ranks[row.id])
        return found

    def _in_order(self, sort: CountrySort) -> Sequence[CountryRow]:
        """All countries; those without the value come last, equal ones are in the order of their names."""
        if sort not in self._orders:
            by, _, direction = sort.value.rpartition("_")
            value: Callable[[CountryRow], Any] = attrgetter(_SORTED_BY[by.removeprefix("exchange_")])
            known = [row for row in self.by_name if value(row) is not None]
            known.sort(key=value, reverse=direction == "desc")
            self._orders[sort] = known + [row for row in self.by_name if value(row) is None]
        return self._orders[sort]


def _ranks(text: str, rows: Iterable[CountryRow]) -> Mapping[int, int]:
    """How well countries match a text, by id: first as ``Countries.get()`` prefers, then names that start with it."""
    key, code, known = name_key(text), _code(text), search(text)
    if not key:
        return {}
    starting, containing, ranks = set(known.starting), set(known.containing), {}
    for row in rows:
        if row.name_key == key:
            ranks[row.id] = 0
        elif code is not None and code in (row.alpha2_code, row.alpha3_code):
            ranks[row.id] = 1
        elif known.exact is not None and row.alpha2_code == known.exact:
            ranks[row.id] = 2
        elif row.name_key.startswith(key):
            ranks[row.id] = 3
        elif row.alpha2_code in starting:
            ranks[row.id] = 4
        elif row.alpha2_code in containing or key in row.name_key or key in (row.capital or "").lower():
            ranks[row.id] = 5
    return ranks


def _code(text: str) -> str | None:
    """A text as a code in upper case; None if it can't be one."""
    # Only ASCII: in upper case the German sharp s would be SS, the code of South Sudan.
    code = text.strip().upper() if text.isascii() else ""
    return code if len(code) in (2, 3) else None


async def load_countries(session: AsyncSession, *, lock: bool = False) -> Countries:
    """Read all countries; locked, as the last commit left them, until the commit of this transaction."""
    rows: list[CountryRow] = []
    query = (_QUERY.with_for_update() if lock else _QUERY).limit(_AT_ONCE)
    page = query
    while True:
        found = (await execute(session, page)).all()
        rows += map(CountryRow._make, found)
        if len(found) < _AT_ONCE:
            return Countries(rows)
        page = query.where(col(Country.id) > rows[-1].id)
