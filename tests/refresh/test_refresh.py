"""POST /countries/refresh, on both engines."""

import asyncio

import pytest
from sqlmodel import update

from app.core.db import lease
from app.core.db.lease import LeaseRow, acquire
from app.core.db.types import ServerNow
from app.refresh import crud as refresh
from tests.conftest import COUNTRIES, RATES, everything, serving
from tests.support import payloads
from tests.support.upstream import Answer, Request, after, document, hang, html, in_turn, status, truncated


async def test_refresh_stores_every_field_and_reports_the_numbers(client):
    response = await client.post("/countries/refresh")

    assert response.status_code == 200
    report = response.json()
    assert isinstance(report.pop("duration_ms"), int)
    assert report == {
        "message": "Countries refreshed successfully",
        "total_countries": 250,
        "inserted": 250,
        "updated": 0,
        "skipped": [],
        "kept": [],
        "sources": {"countries": "127.0.0.1", "rates": "127.0.0.1"},
        "rates_date": "2026-11-20",
        "stale": False,
        "countries_without_rate": 0,
        "implausible_rates": [],
        "last_refreshed_at": "2026-11-21T09:17:00.000001Z",
    }

    ghana = (await client.get("/countries/ghana")).json()
    assert isinstance(ghana.pop("id"), int)
    rate = payloads.rates()["GHS"]
    assert ghana == {
        "name": "Ghana",
        "alpha2_code": "GH",
        "alpha3_code": "GHA",
        "capital": "Accra",
        "region": "Africa",
        "population": 35697557,
        "currency_code": "GHS",
        "exchange_rate": rate,
        "estimated_gdp": 35697557 * 1500.0 / rate,
        "flag_url": "https://flagcdn.com/gh.svg",
        "last_refreshed_at": "2026-11-21T09:17:00.000001Z",
    }


async def test_second_refresh_updates_rows_and_keeps_their_ids(loaded, upstream):
    before = (await loaded.get("/countries/ghana")).json()
    changed = payloads.v3_1()
    for record in changed:
        record["population"] += 1
    upstream.answers[COUNTRIES] = document(changed)

    report = (await loaded.post("/countries/refresh")).json()

    after_it = (await loaded.get("/countries/ghana")).json()
    assert (report["inserted"], report["updated"], report["total_countries"]) == (0, 250, 250)
    assert (after_it["id"], after_it["population"]) == (before["id"], before["population"] + 1)
    assert after_it["last_refreshed_at"] > before["last_refreshed_at"]


async def test_multiplier_is_drawn_for_each_country(settings):
    draws = iter(range(1000, 2000))
    async with serving(settings, draw_multiplier=lambda: float(next(draws))) as client:
        await client.post("/countries/refresh")
        countries = (await client.get("/countries")).json()

    multipliers = [c["estimated_gdp"] * c["exchange_rate"] / c["population"] for c in countries if c["estimated_gdp"]]
    assert len({round(multiplier, 3) for multiplier in multipliers}) == len(multipliers) > 240


async def test_country_without_a_currency_or_a_rate_has_no_rate(loaded, upstream):
    quotes = payloads.er_api()
    del quotes["rates"]["GHS"]
    upstream.answers[RATES] = document(quotes)

    await loaded.post("/countries/refresh")

    for name, expected in {"antarctica": (None, None, 0), "ghana": ("GHS", None, None)}.items():
        country = (await loaded.get(f"/countries/{name}")).json()
        assert (country["currency_code"], country["exchange_rate"], country["estimated_gdp"]) == expected


async def test_missing_values_overwrite_older_ones_and_missing_countries_stay(loaded, upstream):
    empty = {"capital": [], "region": "", "currencies": {}, "flags": {}}
    kept = [record for record in payloads.v3_1() if record["cca2"] != "TG"]
    upstream.answers[COUNTRIES] = document([record | (empty if record["cca2"] == "GH" else {}) for record in kept])

    report = (await loaded.post("/countries/refresh")).json()

    assert (report["total_countries"], report["updated"]) == (250, 249)
    assert (await loaded.get("/countries/togo")).status_code == 200
    stored = (await loaded.get("/countries/gh")).json()
    assert [stored[name] for name in ("capital", "region", "currency_code", "exchange_rate", "flag_url")] == [None] * 5


async def test_unusable_records_are_skipped_and_reported(client, upstream):
    unnamed = [{"name": {"common": name}, "population": 5} for name in ("", "\u202e\u200b")]
    odd = [{"name": {"common": "Oddland"}, "population": number} for number in (-5, 10**30, "many")]
    twin = {"name": {"common": "Ghana again"}, "cca2": "GH", "population": 5}
    upstream.answers[COUNTRIES] = document([*payloads.v3_1(), *unnamed, *odd, "not an object", twin])
    upstream.answers[RATES] = document(payloads.er_api(GHS=0, NGN=-1, KES="twelve", TZS=10**400))

    report = (await client.post("/countries/refresh")).json()

    assert report["total_countries"] == 250
    assert report["skipped"] == [
        *[{"name": "(no name)", "reason": "has no usable name"}] * 2,
        *[{"name": "Oddland", "reason": "its population is not a number in range"}] * 3,
        {"name": "(no name)", "reason": "is not an object"},
        {"name": "Ghana again", "reason": "is a second record for the same country"},
        *({"name": code, "reason": "its rate is not a number in range"} for code in ("GHS", "KES", "NGN", "TZS")),
    ]


async def test_reported_skipped_records_are_limited(client, upstream):
    upstream.answers[COUNTRIES] = document([*payloads.v3_1(), *({"name": f"X{n}"} for n in range(500))])

    skipped = (await client.post("/countries/refresh")).json()["skipped"]
    assert (len(skipped), skipped[-1]) == (100, {"name": "...", "reason": "and 401 more"})


FAILURES = [
    (status(500), "answered 500"),
    (hang, "timed out after 1.5 s"),
    (html(), "answered with XML or HTML that is not a known format"),
    (truncated(payloads.v3_1()), "the connection failed (RemoteProtocolError)"),
    (document({"success": False, "errors": [{"message": "Deprecated."}]}), "answered with an error"),
    (document([]), "answered without a single usable country"),
    (
        document(payloads.v3_1()[:124]),
        "answered with 124 countries while 250 are stored, which looks truncated; for a list of fewer, delete the "
        "others first or start with an empty database",
    ),
]


async def test_failing_or_truncated_source_changes_nothing(loaded, upstream):
    before, honest = await everything(loaded), dict(upstream.answers)
    failures = [(COUNTRIES, "country API", *failure) for failure in FAILURES]
    for path, api, answer, reason in (*failures, (RATES, "exchange rate API", hang, "timed out after 1.5 s")):
        upstream.answers.update(honest | {path: answer})

        response = await loaded.post("/countries/refresh")

        assert (reason, response.status_code, response.headers["Retry-After"]) == (reason, 503, "30")
        assert response.json() == {
            "error": "External data source unavailable",
            "details": f"Could not fetch data from {api} (127.0.0.1: {reason})",
        }
        assert (reason, await everything(loaded)) == (reason, before)


def once(condition: asyncio.Event | asyncio.Barrier, then: Answer) -> Answer:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        await condition.wait()
        await then(request, writer)

    return answer


async def test_both_sources_are_fetched_at_the_same_time(client, upstream):
    both_asked = asyncio.Barrier(2)
    for path in (COUNTRIES, RATES):
        upstream.answers[path] = once(both_asked, upstream.answers[path])

    assert (await client.post("/countries/refresh")).status_code == 200
    assert upstream.hits == {COUNTRIES: 1, RATES: 1}


@pytest.mark.parametrize(("answer", "code"), [(None, 200), (status(404), 503)])
async def test_concurrent_refreshes_fetch_once_and_answer_alike(client, upstream, answer, code):
    upstream.answers[RATES] = after(0.3, answer or upstream.answers[RATES])

    responses = await asyncio.gather(*(client.post("/countries/refresh") for _ in range(20)))

    assert {(response.status_code, response.text) for response in responses} == {(code, responses[0].text)}
    assert upstream.hits == {COUNTRIES: 1, RATES: 1}


async def test_two_processes_share_one_refresh(service, upstream, monkeypatch):
    """Two applications over one database are two processes to each other."""
    other_waits = asyncio.Event()

    async def read_fence(*about) -> int:
        fence = await lease.read_fence(*about)
        other_waits.set()
        return fence

    monkeypatch.setattr(refresh, "read_fence", read_fence)
    upstream.answers[RATES] = once(other_waits, upstream.answers[RATES])
    async with service() as one, service() as other:
        responses = await asyncio.gather(*(client.post("/countries/refresh") for client in (one, other) * 5))

    assert {(response.status_code, response.text) for response in responses} == {(200, responses[0].text)}
    assert upstream.hits == {COUNTRIES: 1, RATES: 1}


async def test_country_deleted_while_the_sources_answer_comes_back_as_a_new_one(loaded, upstream):
    before, is_deleted = (await loaded.get("/countries/gh")).json(), asyncio.Event()
    upstream.answers[RATES] = once(is_deleted, upstream.answers[RATES])
    refreshing = asyncio.create_task(loaded.post("/countries/refresh"))
    while upstream.hits[RATES] < 2:
        await asyncio.sleep(0.01)
    assert (await loaded.delete("/countries/gh")).status_code == 200
    is_deleted.set()

    report = (await refreshing).json()

    assert (report["inserted"], report["updated"], report["total_countries"]) == (1, 249, 250)
    assert (await loaded.get("/countries/gh")).json()["id"] > before["id"]


async def test_refresh_that_waits_too_long_for_another_process_is_409(client, monkeypatch):
    monkeypatch.setattr(refresh, "WAIT_SECONDS", 0.3)
    assert await acquire(client.state["database"], refresh.LEASE)

    response = await client.post("/countries/refresh")

    assert (response.status_code, response.headers["Retry-After"]) == (409, "10")
    assert response.json() == {
        "error": "Refresh in progress",
        "details": "Another process is refreshing and did not finish in time; try again later",
    }
    assert (await client.get("/countries")).json() == []


async def test_refresh_that_lost_its_lease_stores_nothing_and_starts_again(client, upstream):
    lost = asyncio.Event()
    late, early = document(payloads.er_api(GHS=5)), document(payloads.er_api(GHS=6))
    upstream.answers[RATES] = in_turn(once(lost, late), early)
    refreshing = asyncio.create_task(client.post("/countries/refresh"))
    while not upstream.hits[RATES]:
        await asyncio.sleep(0.01)

    async def take_over(session):
        stolen = {"holder": "another", "fence": LeaseRow.fence + 1, "expires_at": ServerNow()}
        await session.exec(update(LeaseRow).values(**stolen).execution_options(synchronize_session=False))

    await client.state["database"].transaction(take_over)
    lost.set()

    assert (await refreshing).status_code == 200
    assert upstream.hits == {COUNTRIES: 2, RATES: 2}
    assert (await client.get("/countries/gh")).json()["exchange_rate"] == 6


async def test_unexpected_error_in_a_refresh_is_500_without_details(loaded, monkeypatch):
    before = await everything(loaded)

    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(refresh, "build_rows", fail)
    response = await loaded.post("/countries/refresh")

    assert (response.status_code, response.json()) == (500, {"error": "Internal server error"})
    assert await everything(loaded) == before


async def test_forced_refresh_does_not_share_the_result_of_an_unforced_one(client, upstream):
    upstream.answers[RATES] = after(0.3, upstream.answers[RATES])

    plain, forced = await asyncio.gather(
        client.post("/countries/refresh"), client.post("/countries/refresh", params={"force": "true"})
    )

    assert (plain.status_code, forced.status_code) == (200, 200)
    assert upstream.hits[COUNTRIES] == 2


async def test_temporary_failure_of_a_source_is_retried_unless_it_asks_for_a_long_pause(client, upstream):
    upstream.answers[COUNTRIES] = in_turn(
        status(429, Retry_After="1200"), status(503), status(429, Retry_After="0"), upstream.answers[COUNTRIES]
    )

    given_up, asked = await client.post("/countries/refresh"), upstream.hits[COUNTRIES]
    retried = await client.post("/countries/refresh")

    assert given_up.json()["details"] == "Could not fetch data from country API (127.0.0.1: answered 429)"
    assert (given_up.status_code, asked) == (503, 1)
    assert (retried.status_code, upstream.hits[COUNTRIES]) == (200, 1 + 3)


async def test_chain_tries_the_next_source_and_reports_all_failures_without_secrets(service, upstream):
    gone, page = f"{upstream.url('/gone')}?key=hush", f"http://localhost:{upstream.port}/html"
    upstream.answers["/html"] = html()
    countries, rates = f"{gone} {upstream.url(COUNTRIES)} bundled", f"{gone} {upstream.url(RATES)}"
    async with service(country_sources=countries, rate_sources=rates) as client:
        report = (await client.post("/countries/refresh")).json()
        hits = dict(upstream.hits)
    async with service(country_sources=f"{gone} {page}") as client:
        failed = (await client.post("/countries/refresh")).json()

    assert report["sources"] == {"countries": "127.0.0.1", "rates": "127.0.0.1"}
    assert hits == {"/gone": 2, COUNTRIES: 1, RATES: 1}
    assert failed["details"] == (
        "Could not fetch data from country API "
        "(127.0.0.1: answered 404; localhost: answered with XML or HTML that is not a known format)"
    )


async def test_refresh_continues_when_its_caller_disconnects(client, upstream):
    has_left = asyncio.Event()
    upstream.answers[RATES] = once(has_left, upstream.answers[RATES])
    leaving = asyncio.create_task(client.post("/countries/refresh"))
    while not upstream.hits[RATES]:
        await asyncio.sleep(0.01)
    leaving.cancel()
    await asyncio.wait([leaving])
    has_left.set()

    while (await client.get("/status")).status_code != 200:
        await asyncio.sleep(0.01)
    assert upstream.hits == {COUNTRIES: 1, RATES: 1}
