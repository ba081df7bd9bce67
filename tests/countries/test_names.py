"""Every spelling of a country and each of its codes find it, by its name and by ``q``."""

from typing import Any

import pytest

from app.core.db.database import Database
from app.core.db.snapshots import snapshot_of
from app.countries import crud
from app.countries.schemas import CountryFilters
from app.sources import reference
from app.sources.spellings import alpha2_of, suggest
from tests.conftest import COUNTRIES
from tests.support import payloads
from tests.support.upstream import document

FORMS = {
    "GB": ["uk", "U.K.", "Great Britain", "The United Kingdom", "826", "gbr", "Y Deyrnas Unedig"],
    "US": ["USA", "u.s.", "America", "The United States of America", "United States of America, The", "840"],
    "AE": ["UAE", "Emirates, United Arab", "784"],
    "CD": ["DRC", "D.R. Congo", "Zaire", "Congo (the Democratic Republic of the)", "Democratic Republic of Congo"],
    "CG": ["Congo", "Congo (the)", "Republic of the Congo", "Congo, Republic of"],
    "KR": ["Korea, Republic of", "Korea (the Republic of)", "Republic of Korea", "South Korea", "410", "대한민국"],
    "KP": ["Korea (Democratic People's Republic of)", "Korea, Democratic Peoples Republic of", "PRK"],
    "LC": ["St. Lucia", "St Lucia", "saint lucia", "ST.LUCIA"],
    "VC": ["St. Vincent & the Grenadines", "Saint Vincent and The Grenadines"],
    "TT": ["Trinidad and Tobago", "Trinidad & Tobago", "T&T", "TTO"],
    "CI": ["Cote d'Ivoire", "Cote dIvoire", "Cote d Ivoire", "Ivory Coast", "384"],
    "GW": ["Guinea Bissau", "Guinea-Bissau", "Guinea–Bissau"],
    "DE": ["GER", "Federal Republic of Germany", "Germany, Federal Republic of", "Deutschland", "276"],
    "AF": ["004"],
    "AD": ["AND"],
    "SZ": ["Swaziland", "Kingdom of Eswatini"],
    "BN": ["BRN"],  # the Olympic code of Bahrain
    "MR": ["MRT"],  # the Olympic code of Martinique
    None: ["", "the", "of", "&", "4", "0826", "８２６", "ß", "england", "republic", "saint", "  ", "\u0301", "x" * 200],
}


def test_inverted_abbreviated_and_coded_forms_have_the_code_of_their_country() -> None:
    expected = {form: alpha2 for alpha2, forms in FORMS.items() for form in forms}

    assert {form: alpha2_of(form) for form in expected} == expected


def test_every_code_in_the_table_is_of_its_own_country_and_no_spelling_is_the_code_of_another() -> None:
    alpha3 = {country.alpha3 for country in reference.countries().values()}
    for alpha2, country in reference.countries().items():
        olympic = {country.ioc} - alpha3 - {None}
        codes: set[Any] = {alpha2, country.alpha3, country.numeric or alpha2, *olympic}
        assert {code: alpha2_of(code) for code in codes} == dict.fromkeys(codes, alpha2)
        names = reference.names()[alpha2]
        assert {name: alpha2_of(name) for name in names} == dict.fromkeys(names, alpha2)


async def test_service_finds_a_country_by_every_form_of_its_name_and_by_its_codes(loaded):
    expected = {form: alpha2 for alpha2, forms in FORMS.items() for form in forms[:3] if alpha2}

    answers = {form: (await loaded.get(f"/countries/{form}")).json() for form in expected}

    assert {form: country.get("alpha2_code") for form, country in answers.items()} == expected


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
async def test_first_match_of_q_is_the_country_with_that_spelling_or_code(loaded, step):
    known = reference.countries().items()
    spellings = [(name, alpha2) for alpha2, _ in known for name in reference.names()[alpha2]]
    codes = [(code, alpha2) for alpha2, country in known for code in (alpha2, country.alpha3, country.numeric) if code]
    database: Database = loaded.state["database"]

    wrong = []
    for name, alpha2 in (spellings + codes)[::step]:
        async with database.reading() as session:
            found = (await crud.get_country(snapshot_of(session), name)).alpha2_code
            listed, _ = await crud.list_countries(snapshot_of(session), CountryFilters(q=name, fields="alpha2_code"))
        if not found == listed[0]["alpha2_code"] == alpha2:
            wrong.append((name, alpha2, found, listed[:1]))

    assert wrong == []


BEST_FIRST = {
    "uk": ["United Kingdom", "Ukraine"],
    "UKR": ["Ukraine"],
    "ger": ["Germany", "Algeria", "Niger", "Nigeria"],
    "niger": ["Niger", "Nigeria"],
    "guinea": ["Guinea", "Guinea-Bissau", "Equatorial Guinea", "Papua New Guinea"],
    "korea": ["North Korea", "South Korea"],
    "united": ["United Arab Emirates", "United Kingdom", "United States", "Mexico"],
    "PARIS": ["France"],
    "la paz": ["Bolivia"],
    "st. l": ["St. Lucia"],
    "trinidad an": ["Trinidad & Tobago"],
    "isle o": ["Isle of Man"],
    "826": ["United Kingdom"],
    "82": [],
}


async def test_q_lists_exact_matches_first_then_names_that_start_with_it(loaded):
    found = {}
    for q, expected in BEST_FIRST.items():
        answer = await loaded.get("/countries", params={"q": q, "fields": "name"})
        found[q] = [country["name"] for country in answer.json()][: max(len(expected), 1)]

    assert found == BEST_FIRST


async def test_pages_and_orders_of_a_search_keep_to_its_matches(loaded):
    async def names(**more: Any) -> list[str]:
        answer = await loaded.get("/countries", params={"q": "uk", "fields": "name", **more})
        return [country["name"] for country in answer.json()]

    whole = await names()
    assert await names(limit=2) + await names(limit=100, offset=2) == whole
    assert await names(sort="name_asc") == sorted(whole, key=str.casefold) != whole


async def test_q_finds_names_and_capitals_that_only_the_source_knows(client, upstream):
    odd = {"name": "Nova Atlantis", "capital": "Poseidonis", "population": 1}
    upstream.answers[COUNTRIES] = document([odd, {"name": "Casanova", "population": 1}])
    await client.post("/countries/refresh")

    found = {}
    for q in ("nova", "ATLANT", "poseidon"):
        found[q] = [country["name"] for country in (await client.get(f"/countries?q={q}")).json()]

    assert found == {"nova": ["Nova Atlantis", "Casanova"], "ATLANT": ["Nova Atlantis"], "poseidon": ["Nova Atlantis"]}


async def test_other_spellings_update_the_stored_countries_and_add_none(loaded, upstream):
    stored = {country["alpha2_code"]: country["id"] for country in (await loaded.get("/countries")).json()}
    codes = [record["alpha2Code"] for record in payloads.v2_with_codes()]
    for form in ("official", "last", "inverted"):
        records = payloads.v2_without_codes()
        for alpha2, record in zip(codes, records, strict=True):
            official = reference.countries()[alpha2].official_name or record["name"]
            first, of, rest = official.rpartition(" of ")
            inverted = f"{rest} (the {first} of)" if of else official
            record["name"] = {"official": official, "last": reference.names()[alpha2][-1], "inverted": inverted}[form]
        upstream.answers[COUNTRIES] = document(records)

        report = (await loaded.post("/countries/refresh")).json()

        assert (form, report["inserted"], report["updated"], report["skipped"]) == (form, 0, 250, [])
        now = (await loaded.get("/countries")).json()
        assert {country["alpha2_code"]: country["id"] for country in now} == stored


CLOSE = {
    "Ghanna": "Ghana",
    "Ghan": "Ghana",
    "Phillipines": "Philippines",
    "Afganistan": "Afghanistan",
    "Columbia": "Colombia",
    "Ira": "Iraq or Iran",
    "Austrlia": "Australia or Austria",
    "korea": "North Korea or South Korea",
    "Saudi": "Saudi Arabia",
    "Kongo": "Congo - Kinshasa or Congo - Brazzaville",
    "Virgin Islands": "British Virgin Islands or U.S. Virgin Islands",
    "Newzealand": "New Zealand",
}


async def test_unknown_name_gets_the_stored_names_that_may_be_meant(loaded):
    expected = {
        name: {"error": "Country not found", "details": f"did you mean {close}?"} for name, close in CLOSE.items()
    }

    answers = {name: await loaded.get(f"/countries/{name}") for name in CLOSE}

    assert {name: answer.json() for name, answer in answers.items()} == expected
    history, deletion = await loaded.get("/countries/ghan/history"), await loaded.delete("/countries/ghan")
    assert history.json() == deletion.json() == expected["Ghan"]
    assert {answer.status_code for answer in (*answers.values(), history, deletion)} == {404}


async def test_countries_that_are_not_stored_are_not_suggested(loaded):
    await loaded.delete("/countries/ghana")

    plain = [(await loaded.get(f"/countries/{name}")).json() for name in ("Ghanna", "Ghana", "GH", "GHA", "288")]
    iran = await loaded.delete("/countries/iran")

    assert plain == [{"error": "Country not found"}] * 5
    assert iran.status_code == 200
    assert (await loaded.get("/countries/Ira")).json()["details"] == "did you mean Iraq?"


@pytest.mark.parametrize(
    "name", ["Ghana", "de", "Wakanda", "island", "Alemania", "ROC", "q" * 200, "'" * 200, "a " * 100, "\u0301"]
)
def test_known_common_and_distant_names_suggest_nothing(name: str) -> None:
    assert suggest(name) == []
