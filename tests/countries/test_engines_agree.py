"""The same requests get the same bytes on every engine, apart from ids, estimates and times."""

import random
from urllib.parse import quote, urlencode

import pytest

from app.countries.schemas import CountrySort
from tests.conftest import COUNTRIES, RATES, Client, emptied_database, make_settings, serving, ticking_clock
from tests.support.engines import ENGINES, has
from tests.users.accounts import create

pytestmark = pytest.mark.skipif(not all(map(has, ENGINES)), reason="needs every engine")

NAMES = ["Åsa Öberg", "asa Oberg", "Zoë O’Neill", "zoe o'neill", "Émile Zola", "EMILE zola", "ß Straße", "ss strasse"]
NAMES += ["İnci Şahin", "inci sahin", "_ underscore", "- dash", "~ tilde", "10 ten", "9 nine", "Ætla Þór", "😀 smile"]
PARTS = ["a", "o’", "O'", "É", "ß", "ss", "İ", "_", "%", "\\", "\0", "😀", "é", "GH", "côte", "CÔTE d’", "10", "+"]
SPELLINGS = ["Côte d’Ivoire", "COTE D'IVOIRE", "curaçao", "türkiye", "a\0b", "%"]
OWN = {"id", "created_at", "updated_at", "last_refreshed_at", "estimated_gdp"}
"""Fields that differ from one database to the next."""


def random_paths(chance: random.Random, number: int) -> list[str]:
    """Filters, orders and pages of countries and accounts."""
    paths = []
    for _ in range(number):
        is_country = chance.random() < 0.6
        sorts = list(CountrySort) if is_country else ["name_asc", "name_desc", "email_asc", "email_desc"]
        query: dict[str, object] = {"sort": chance.choice(sorts)}
        if chance.random() < 0.6:
            query["q"] = "".join(chance.sample(PARTS, chance.randint(1, 2)))
        if is_country and chance.random() < 0.3:
            query["region"] = chance.choice(["europe", "AFRICA", "Américas", "nowhere\0"])
        if chance.random() < 0.5:
            query |= {"limit": chance.randint(1, 40), "offset": chance.randint(0, 60)}
        paths.append(f"/{'countries' if is_country else 'users'}?{urlencode(query)}")
    return paths


def comparable(content: object) -> object:
    if isinstance(content, list):
        return [comparable(each) for each in content]
    if isinstance(content, dict):
        return {name: comparable(value) for name, value in content.items() if name not in OWN}
    return content


async def answers(client: Client, paths: list[str]) -> dict[str, object]:
    found = {path: await client.get(path) for path in paths}
    return {
        path: (response.status_code, comparable(response.json()), response.headers.get("X-Total-Count"))
        for path, response in found.items()
    }


async def test_lists_searches_and_names_are_the_same_on_every_engine(request, upstream, http):
    paths = random_paths(random.Random(19), 150) + [f"/countries/{quote(name)}" for name in SPELLINGS]
    found = []
    for engine in ENGINES:
        settings = make_settings(
            database_url=emptied_database(request, engine),
            country_sources=upstream.url(COUNTRIES),
            rate_sources=upstream.url(RATES),
        )
        async with serving(settings, http=http, clock=ticking_clock(), draw_multiplier=lambda: 1500.0) as client:
            await client.post("/countries/refresh")
            for number, name in enumerate(NAMES):
                first, last = name.split()
                await create(client, fname=first, lname=last, email=f"{first[:1]}{number}@Example.com")
            found.append(await answers(client, paths))

    for path in paths:
        assert found[0][path] == found[1][path] == found[2][path], path
