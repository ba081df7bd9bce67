"""Rates that are not believed at once: jumps, redenominations, and pegs that do not hold."""

import asyncio
from datetime import date, timedelta

import pytest

from app.refresh.fetch import RefreshOrder
from app.sources.chain import CHAIN_SECONDS, Source, SourceFailed
from app.sources.rate_checks import KnownRate, find_deviations, find_jumps
from app.sources.rate_shapes import Quotes
from app.sources.rates import RateAnswer, fetch_rates
from tests.conftest import RATES, START
from tests.support import payloads
from tests.support.upstream import document, status

TODAY = START.date()
SECOND = "/second"


def jumps(code: str, old: tuple[float, str] | None, new: tuple[float, str]) -> list[str]:
    """The currencies that are not believed, of one that changed and one that did not."""
    previous = {"EUR": KnownRate(0.9, date(2020, 1, 1))}
    if old:
        previous[code] = KnownRate(old[0], date.fromisoformat(old[1]))
    day = date.fromisoformat(new[1])
    return list(find_jumps(Quotes(day, {code: new[0], "EUR": 0.9, "USD": 1.0}), previous))


@pytest.mark.parametrize(
    ("code", "old", "new", "believed"),
    [
        ("GHS", (11.0, "2026-11-20"), (109.0, "2026-11-21"), True),
        ("GHS", (11.0, "2026-11-20"), (111.0, "2026-11-21"), False),
        ("GHS", (11.0, "2026-11-20"), (1.0, "2026-11-21"), False),
        ("GHS", None, (1100.0, "2026-11-21"), True),  # with nothing to compare
        # The Syrian pound: 100 old ones have been one new since 2026-01-01, and a feed went back in August.
        ("SYP", (13003.0, "2025-12-30"), (110.5, "2026-01-02"), True),
        ("SYP", (110.5, "2026-07-04"), (13003.0, "2026-08-05"), False),
        ("SYP", (13003.0, "2025-12-30"), (13003.0, "2026-01-02"), False),
        ("SYP", (13003.0, "2025-12-30"), (12.0, "2026-01-02"), False),
        ("SYP", (13003.0, "2026-09-29"), (111.0, "2026-11-21"), True),  # the feed changes late
        ("SYP", (111.0, "2026-11-21"), (13003.0, "2025-12-30"), True),  # an older file
        ("SYP", (110.0, "2026-11-20"), (1.1, "2026-11-21"), False),  # the feed has changed long ago
        ("SYP", None, (13003.0, "2026-08-05"), False),
        ("SYP", None, (111.0, "2026-11-21"), True),
        ("SYP", None, (13003.0, "2025-12-30"), True),
        ("SYP", None, (512.0, "2020-01-02"), True),  # too long ago to compare
        ("VES", (4_190_000.0, "2021-09-30"), (4.18, "2021-10-01"), True),
        ("VES", (4.18, "2021-10-01"), (4_190_000.0, "2021-10-02"), False),
    ],
)
def test_jump_is_believed_only_where_a_redenomination_explains_it(code, old, new, believed):
    assert jumps(code, old, new) == ([] if believed else [code])


def test_accepted_currency_is_not_doubted_and_says_how_to_accept_it():
    previous = {"SYP": KnownRate(13003.0, date(2025, 12, 30)), "EUR": KnownRate(0.9, date(2025, 12, 30))}
    quotes = Quotes(date(2026, 1, 2), {"SYP": 13010.0, "EUR": 0.9})

    assert find_jumps(quotes, previous, accepted=("SYP",)) == {}
    assert find_jumps(quotes, previous) == {
        "SYP": "its rate went from 13003 to 13010 across a redenomination, after which about 130.03 was expected; "
        "force=SYP accepts it"
    }


RATE = payloads.rates()["GHS"]


@pytest.mark.parametrize(
    ("second", "believed"),
    [
        (document(payloads.er_api(GHS=RATE * 19)), True),
        (document(payloads.er_api(GHS=RATE * 9)), False),
        (document(payloads.er_api(GHS=RATE)), False),
        (document({"base": "USD", "date": "2026-11-20", "rates": {"EUR": 0.9}}), False),
        (document(payloads.er_api(TODAY - timedelta(8), GHS=RATE * 20)), False),
        (status(404), False),
    ],
)
@pytest.mark.engines("sqlite")
async def test_jump_is_believed_if_the_next_source_confirms_it(service, upstream, second, believed):
    upstream.answers[SECOND] = second
    sources = f"{upstream.url(RATES)} http://localhost:{upstream.port}{SECOND}"
    async with service(rate_sources=sources) as client:
        first = (await client.post("/countries/refresh")).json()
        asked_without_need = upstream.hits[SECOND]
        upstream.answers[RATES] = document(payloads.er_api(TODAY, GHS=RATE * 20))
        report = (await client.post("/countries/refresh")).json()
        ghana = (await client.get("/countries/gh")).json()

    assert (first["skipped"], asked_without_need, upstream.hits[SECOND]) == ([], 0, 1)
    assert (report["sources"]["rates"], report["rates_date"], report["stale"]) == ("127.0.0.1", "2026-11-21", False)
    assert [entry["name"] for entry in report["skipped"]] == ([] if believed else ["GHS"])
    assert ghana["exchange_rate"] == (RATE * 20 if believed else None)


async def test_confirming_source_is_another_one_and_has_the_time_that_is_left():
    asked: list[tuple[str, float]] = []
    quotes = Quotes(TODAY, {"GHS": 220.0, "USD": 1.0})

    def source(name: str, *, is_local: bool = False, **jumps: str) -> Source[RateAnswer]:
        async def read(seconds: float) -> RateAnswer:
            asked.append((name, seconds))
            if name == "broken":
                raise SourceFailed("answered 404")
            return RateAnswer(quotes, TODAY, jumps)

        return Source(name, read, is_local=is_local)

    chain = [source("a", GHS="jumped"), source("a"), source("bundled", is_local=True), source("broken"), source("b")]
    fetched = await fetch_rates(chain, timeout=CHAIN_SECONDS, note=lambda *_: None)
    assert (fetched.quotes.rates, fetched.quotes.skipped) == (quotes.rates, ())
    assert [name for name, _ in asked] == ["a", "broken", "b"]
    assert [seconds for _, seconds in asked] == sorted((seconds for _, seconds in asked), reverse=True)

    alone = await fetch_rates(chain[:3], timeout=1, note=lambda *_: None)
    assert (alone.quotes.rates, alone.quotes.skipped) == ({"USD": 1.0}, (("GHS", "jumped"),))


@pytest.mark.engines("sqlite")
async def test_one_currency_can_be_accepted_and_others_stay_doubted(loaded, upstream):
    rates = payloads.rates()
    moved = {code: rates[code] * 20 for code in ("GHS", "KES", "NGN")}
    upstream.answers[RATES] = document(payloads.er_api() | {"rates": rates | moved})

    for force, doubted in (("GHS", ["KES", "NGN"]), ("kes,GHS", ["NGN"]), ("false", ["NGN"]), ("True", [])):
        report = (await loaded.post("/countries/refresh", params={"force": force})).json()
        assert (force, [entry["name"] for entry in report["skipped"]]) == (force, doubted)
    countries = (await loaded.get("/countries?fields=currency_code,exchange_rate")).json()
    assert {row["currency_code"]: row["exchange_rate"] for row in countries}.items() >= moved.items()


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize("force", ["maybe", "1", "yes", "off", "SYP;NGN", "SYP,", "SYPX", "Straße", "ßP"])
async def test_wrong_force_is_refused(client, upstream, force):
    response = await client.post("/countries/refresh", params={"force": force})

    problem = "must be true, false, or currency codes separated by commas, such as SYP"
    assert (response.status_code, response.json()) == (
        400,
        {"error": "Validation failed", "details": {"force": problem}},
    )
    assert not upstream.hits


def test_orders_that_accept_different_currencies_are_different():
    orders = [
        RefreshOrder(("x",), ("y",), force, rates) for force, rates in ((False, ()), (True, ()), (False, ("SYP",)))
    ]

    assert len({order.digest for order in orders}) == len(set(orders)) == 3


@pytest.mark.engines("sqlite")
async def test_concurrent_refreshes_with_the_same_codes_in_another_order_are_one(client, upstream):
    await asyncio.gather(*(client.post(f"/countries/refresh?force={codes}") for codes in ("SYP,NGN", "ngn,SYP,NGN")))

    assert upstream.hits[RATES] == 1


def test_pegs_and_bands_are_held_against_rates_of_the_same_day():
    rates = {"USD": 1.0, "EUR": 0.9, "AED": 3.6725, "HKD": 7.849, "DKK": 0.9 * 7.63, "XOF": 0.9 * 650}
    day, days = date(2026, 11, 20), {"XOF": date(2026, 11, 19)}

    assert find_deviations(Quotes(day, rates, days=days)) == [("DKK", "EUR", 7.63, 7.46038)]
    assert [found.code for found in find_deviations(Quotes(day, rates | {"HKD": 7.851}))] == ["DKK", "HKD"]
    assert find_deviations(Quotes(day, {"USD": 1.0, "AED": 3.1})) == [("AED", "USD", 3.1, 3.6725)]
    assert find_deviations(Quotes(day, payloads.rates())) == []


@pytest.mark.engines("sqlite")
async def test_implausible_rates_are_stored_and_reported(loaded, upstream):
    before = (await loaded.get("/status")).json()
    upstream.answers[RATES] = document(payloads.er_api(TODAY, AED=3.1))
    report = (await loaded.post("/countries/refresh")).json()
    state, latest = [(await loaded.get(path)).json() for path in ("/status", "/rates?symbols=AED")]

    found = [{"code": "AED", "base": "USD", "rate": 3.1, "expected": 3.6725, "source": "127.0.0.1"}]
    assert (before["implausible_rates"], report["implausible_rates"], state["implausible_rates"]) == ([], found, found)
    assert (latest["rates"], report["skipped"]) == ({"AED": 3.1}, [])
