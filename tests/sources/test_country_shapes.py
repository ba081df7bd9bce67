"""Every format of the sources, through a refresh, on both engines."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from tests.conftest import COUNTRIES, RATES, everything, make_settings
from tests.support import payloads
from tests.support.upstream import Answer, body, document, pages, status

SHAPES: dict[str, dict[str, Callable[[], Any]]] = {
    COUNTRIES: {
        "v2 without codes": payloads.v2_without_codes,
        "v2 with codes": payloads.v2_with_codes,
        "countries.dev": payloads.countries_dev,
        "v3.1": payloads.v3_1,
        "v3.1 without empty keys": lambda: payloads.v3_1(leave_out_empty=True),
        "v5 in one page": payloads.v5,
    },
    RATES: {
        "er-api": payloads.er_api,
        "currency-api": payloads.currency_api,
        "frankfurter v1": payloads.frankfurter_v1,
        "frankfurter v2": payloads.frankfurter_v2,
    },
}


async def facts(client: Any) -> list[dict[str, Any]]:
    listed = (await client.get("/countries")).json()
    return [{k: v for k, v in country.items() if k not in ("id", "last_refreshed_at")} for country in listed]


@pytest.mark.parametrize("path", [COUNTRIES, RATES])
async def test_every_format_gives_the_same_countries_and_rates(loaded, upstream, path):
    expected = await facts(loaded)
    for shape, payload in SHAPES[path].items():
        upstream.answers[path] = document(payload())

        report = (await loaded.post("/countries/refresh")).json()

        assert (shape, report["inserted"], report["updated"], report["skipped"]) == (shape, 0, 250, [])
        assert (shape, report["rates_date"]) == (shape, "2026-11-20")
        assert (shape, await facts(loaded)) == (shape, expected)


async def test_own_list_is_a_source_that_changes_nothing(loaded, upstream):
    before = await facts(loaded)
    upstream.answers[COUNTRIES] = document((await loaded.get("/countries")).json())

    report = (await loaded.post("/countries/refresh")).json()

    assert (report["inserted"], report["skipped"], report["kept"]) == (0, [], [])
    assert await facts(loaded) == before


async def refreshed(
    service, upstream, answer: Answer, *, key: str | None = "k3y", then: str = "", **changes: Any
) -> Any:
    """Refresh with REST Countries v5 as the first source of countries."""
    upstream.answers["/v5"] = answer
    keyed = {"restcountries_url": upstream.url("/v5"), "restcountries_api_key": key and SecretStr(key)}
    chain = f"restcountries {upstream.url(COUNTRIES)} {then}"
    async with service(**{"country_sources": chain, **keyed, **changes}) as client:
        return await client.post("/countries/refresh")


async def test_v5_is_read_page_by_page_with_the_key_and_few_fields(service, upstream):
    report = (await refreshed(service, upstream, pages(payloads.v5(), key="k3y"))).json()

    assert (report["total_countries"], report["sources"]["countries"]) == (250, "restcountries")
    assert upstream.hits == {"/v5": 3, RATES: 1}
    assert [request.query["offset"] for request in upstream.requests if request.path == "/v5"] == ["0", "100", "200"]
    assert all("names.common" in r.query["response_fields"] for r in upstream.requests if r.path == "/v5")


async def test_key_is_sent_to_its_own_source_only(service, upstream):
    assert (await refreshed(service, upstream, status(500))).status_code == 200

    carried = {request.path for request in upstream.requests if "k3y" in str((request.headers, request.query))}
    assert carried == {"/v5"}


@pytest.mark.parametrize("code", [401, 403])
async def test_refused_key_fails_the_refresh_although_other_sources_follow(service, upstream, code):
    refusal = status(code, '{"errors":[{"message":"No matching authorization key found."}]}')

    response = await refreshed(service, upstream, refusal, key="wrong", then="bundled")

    assert response.status_code == 503
    assert response.json()["details"] == (
        f"Could not fetch data from country API (restcountries: refused RESTCOUNTRIES_API_KEY ({code}))"
    )
    assert COUNTRIES not in upstream.hits


def test_list_that_no_longer_changes_is_only_asked_where_named():
    assert make_settings().country_sources == ("restcountries", "countries.dev", "bundled")


async def test_source_that_needs_a_key_is_skipped_without_one(service, upstream):
    assert (await refreshed(service, upstream, status(500), key=None)).status_code == 200
    assert "/v5" not in upstream.hits


async def test_size_limit_covers_all_pages_together(service, upstream):
    text = json.dumps(payloads.v5()[:100])
    one_page = 48 * sum(text.count(mark) for mark in ",[{")  # its values weigh more than its bytes
    changes: dict[str, Any] = {"country_sources": f"restcountries {upstream.url('/gone')}"}

    response = await refreshed(
        service, upstream, pages(payloads.v5(), key="k3y"), upstream_max_bytes=one_page * 9 // 4, **changes
    )

    assert response.status_code == 503
    assert "restcountries: answered with more values than" in response.json()["details"]
    assert upstream.hits["/v5"] == 3


def updated_at(unix: int) -> dict[str, Any]:
    return payloads.er_api() | {"time_last_update_unix": unix}


NESTED = b'{"base":' + b"[" * 950 + b"]" * 950 + b',"rates":{"EUR":1}}'  # too deep for str()
DEMO = {"data": {"_demo": {"message": "Test"}, "objects": payloads.v5()}}


async def test_names_lose_characters_that_can_not_be_seen(loaded, upstream):
    hidden = {"name": "\u202eGha\u200bna", "capital": "Ac\u2066cra\x00", "region": "West\nAfrica"}
    record = {**hidden, "population": 5, "currencies": [{"code": "GHS"}], "flag": "https://flags.example/gh\u200b.svg"}
    others = [other for other in payloads.v2_without_codes() if other["name"] != "Ghana"]
    upstream.answers[COUNTRIES] = document([*others, record])
    ids = {country["name"]: country["id"] for country in (await loaded.get("/countries")).json()}

    report = (await loaded.post("/countries/refresh")).json()
    ghana = (await loaded.get("/countries/ghana")).json()

    assert (report["inserted"], report["skipped"]) == (0, [])
    assert (ghana["id"], ghana["name"], ghana["capital"]) == (ids["Ghana"], "Ghana", "Accra")
    assert (ghana["region"], ghana["flag_url"]) == ("West Africa", "https://flags.example/gh.svg")


UNKNOWN = "answered in an unknown format: the list must be the whole document, data or data.objects"
UNUSABLE: list[tuple[str, Answer, str]] = [
    (COUNTRIES, document(DEMO), "answered with the sample of the demo key, which is not data"),
    (COUNTRIES, document({"rows": [], "x" * 41: 1}), f"{UNKNOWN}; seen: rows"),
    (COUNTRIES, document({"data": {"rows": []}, "at": 1}), f"{UNKNOWN}; seen: at, data"),
    (COUNTRIES, document("GH"), UNKNOWN),
    (RATES, body(NESTED), "answered with rates for an unknown base"),
    (RATES, document([1, 2]), "answered in an unknown format"),
    (RATES, document(payloads.er_api() | {"base_code": "EUR"}), "answered with a rate for EUR that is not 1"),
    (RATES, document(payloads.er_api(USD=1.1)), "answered with a rate for USD that is not 1"),
    (RATES, document({"result": "error", "error-type": "used-up"}), "answered with an error"),
    (RATES, document(updated_at(4102444800)), "answered with rates of 2100-01-01, which is in the future"),
    (RATES, document(updated_at(0)), "answered with rates of 1970-01-01, which is too old"),
    (RATES, document(payloads.frankfurter_v1() | {"amount": 100}), "answered with rates for an amount other than 1"),
    (RATES, document(payloads.er_api() | {"rates": {}}), "answered without a single usable rate"),
    (RATES, document(payloads.currency_api() | {"date": "soon"}), "answered with an invalid date"),
]


async def test_unusable_answer_changes_nothing(loaded, upstream):
    before, honest = await everything(loaded), dict(upstream.answers)
    for path, answer, reason in UNUSABLE:
        api = "country API" if path == COUNTRIES else "exchange rate API"
        upstream.answers.update(honest | {path: answer})

        response = await loaded.post("/countries/refresh")

        assert response.json() == {
            "error": "External data source unavailable",
            "details": f"Could not fetch data from {api} (127.0.0.1: {reason})",
        }
        assert (reason, response.status_code, await everything(loaded)) == (reason, 503, before)


@pytest.mark.engines("sqlite")
async def test_first_source_without_a_usable_country_is_named_by_its_fields(client, upstream):
    upstream.answers[COUNTRIES] = document([{"nation": f"N{n}", "people": n, "x" * 90: 1} for n in range(5)])

    details = (await client.post("/countries/refresh")).json()["details"]

    why = "no field looks like a name; seen: nation, people"
    reason = f"127.0.0.1: answered without a single usable country: {why}"
    assert details == f"Could not fetch data from country API ({reason})"


async def test_redirect_on_the_same_host_is_followed(client, upstream):
    upstream.answers["/moved"] = upstream.answers[COUNTRIES]
    upstream.answers[COUNTRIES] = body(b"", code=301, Location="/moved")

    assert (await client.post("/countries/refresh")).status_code == 200
