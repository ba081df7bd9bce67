"""Every spelling of a country and each of its codes find it."""

from typing import Any

from app.sources import reference
from app.sources.spellings import alpha2_of
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
