"""A refresh after which many countries would lose what they had is refused, unless forced."""

import pytest

from app.countries.stored import CountryRow
from app.refresh.losses import refuse_losses
from app.sources.chain import SourceFailed
from app.sources.countries import CountryList, to_country_list
from tests.conftest import COUNTRIES, START, everything
from tests.support import payloads
from tests.support.upstream import document

RECORDS = [record for record in payloads.v3_1() if record["currencies"]]
"""All but Antarctica: 249."""


def stored_countries(*, are_known: bool = True) -> list[CountryRow]:
    """What a refresh has stored of the records; or of countries that are in no table."""
    return [
        CountryRow(
            id=number,
            name=record["name"]["common"] if are_known else f"Exampleland {number}",
            name_key="" if are_known else f"exampleland {number}",
            alpha2_code=record["cca2"] if are_known else None,
            alpha3_code=record["cca3"],
            capital=None,
            region=record["region"],
            region_key=None,
            population=record["population"] or 1,
            population_year=None,
            currency_code=next(iter(record["currencies"])),
            exchange_rate=1.0,
            estimated_gdp=1.0,
            flag_url=None,
            last_refreshed_at=START,
        )
        for number, record in enumerate(RECORDS)
    ]


def after_losing(number: int, **lost: object) -> CountryList:
    return to_country_list(
        [
            {**record, "population": record["population"] or 1, **(lost if index < number else {})}
            for index, record in enumerate(RECORDS)
        ]
    )


LOSSES: dict[str, dict[str, object]] = {
    "currency": {"currencies": {}},
    "population": {"population": 0},
    "region": {"region": None},
}


@pytest.mark.parametrize("field", LOSSES)
def test_a_tenth_of_the_stored_countries_may_lose_a_value_but_not_more(field: str):
    stored = stored_countries()

    refuse_losses(after_losing(24, **LOSSES[field]), stored=stored, force=False)
    refuse_losses(after_losing(25, **LOSSES[field]), stored=stored, force=True)
    with pytest.raises(SourceFailed) as refused:
        refuse_losses(after_losing(25, **LOSSES[field]), stored=stored, force=False)

    assert str(refused.value) == f"would leave 25 of 249 stored countries without a {field}; force=true accepts it"


MEANINGLESS: dict[str, tuple[dict[str, object], str]] = {
    "a word as code": ({"currencies": [{"code": "Dollar"}]}, "249 of 249 stored countries without a currency"),
    "no money": ({"currencies": ["XXX"]}, "249 of 249 stored countries without a currency"),
    "gold": ({"currencies": ["XAU"]}, "249 of 249 stored countries without a currency"),
    "one currency": ({"currencies": ["EUR"]}, "212 of 249 stored countries without a currency of their own"),
    "one region": ({"region": "World"}, "249 of 249 stored countries without a region of their own"),
}


@pytest.mark.parametrize("case", MEANINGLESS)
def test_value_that_means_nothing_or_is_the_same_for_all_is_a_loss(case: str):
    given, lost = MEANINGLESS[case]
    answer = to_country_list([{**record, "population": record["population"] or 1, **given} for record in RECORDS])

    refuse_losses(answer, stored=stored_countries(), force=True)
    with pytest.raises(SourceFailed) as refused:
        refuse_losses(answer, stored=stored_countries(), force=False)

    assert str(refused.value) == f"would leave {lost}; force=true accepts it"


def test_codes_of_money_that_is_not_in_our_list_may_change():
    stored = [country._replace(currency_code="QQQ") for country in stored_countries()]

    refuse_losses(after_losing(200, currencies=["QQX"]), stored=stored, force=False)


def test_nine_countries_may_lose_values_however_few_are_stored():
    stored = stored_countries()[:12]

    refuse_losses(after_losing(9, currencies={}, region=""), stored=stored, force=False)
    with pytest.raises(SourceFailed) as refused:
        refuse_losses(after_losing(10, currencies={}, region=""), stored=stored, force=False)

    lost = "10 of 12 stored countries without a currency, 10 without a region"
    assert str(refused.value) == f"would leave {lost}; force=true accepts it"


def test_codes_that_only_the_source_knew_may_not_get_lost():
    stored = stored_countries(are_known=False)
    without = [
        {"name": was.name, "population": was.population, "currency": was.currency_code, "region": was.region}
        for was in stored
    ]

    with pytest.raises(SourceFailed) as refused:
        refuse_losses(to_country_list(without), stored=stored, force=False)

    lost = "249 of 249 stored countries without a three-letter code"
    assert str(refused.value) == f"would leave {lost}; force=true accepts it"


async def test_source_that_would_cause_losses_changes_nothing_until_forced(loaded, upstream):
    before = await everything(loaded)
    upstream.answers[COUNTRIES] = document([{**r, "region": "", "currencies": {}} for r in payloads.v3_1()[:200]])
    some = [{**r, "currencies": {}} if index < 100 else r for index, r in enumerate(payloads.v3_1())]

    no_currency = await loaded.post("/countries/refresh")
    upstream.answers[COUNTRIES] = document(some)
    losses = await loaded.post("/countries/refresh")
    unchanged = await everything(loaded)
    forced = await loaded.post("/countries/refresh", params={"force": "true"})

    had = sum(bool(record["currencies"]) for record in payloads.v3_1()[:100])
    reasons = {
        no_currency: "answered in an unknown format: no currency has a code that can be read",
        losses: f"would leave {had} of 250 stored countries without a currency",
    }
    for response, reason in reasons.items():
        failed = f"Could not fetch data from country API (127.0.0.1: {reason}; force=true accepts it)"
        assert (response.status_code, response.json()["details"]) == (503, failed)
    assert unchanged == before
    assert (forced.status_code, forced.json()["updated"]) == (200, 250)


@pytest.mark.engines("sqlite")
async def test_source_in_an_unknown_shape_is_named_as_such_and_the_next_one_is_asked(service, upstream):
    odd = [{"legal\ntender": "EUR", **record} for record in RECORDS]
    upstream.answers[COUNTRIES] = document([{k: v for k, v in record.items() if k != "currencies"} for record in odd])
    async with service() as client:
        refused = await client.post("/countries/refresh")
    async with service(country_sources=f"{upstream.url(COUNTRIES)} bundled") as client:
        report = (await client.post("/countries/refresh")).json()

    seen = "no field looks like a currency; seen: capital, cca2, cca3, flags, legal tender, name, population, region"
    reason = f"127.0.0.1: answered in an unknown format: {seen}; force=true accepts it"
    assert refused.json()["details"] == f"Could not fetch data from country API ({reason})"
    assert (report["sources"]["countries"], report["total_countries"]) == ("bundled", 250)
