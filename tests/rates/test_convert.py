"""Conversion: exact, in both directions, on any day."""

import random
from decimal import Decimal

import pytest

from tests.support import payloads


async def test_amount_is_converted_by_the_latest_rates(both):
    response = await both.get("/convert?from=ngn&to=EUR&amount=100")

    rates = payloads.rates()
    exact = Decimal(100) * Decimal(repr(rates["EUR"])) / Decimal(repr(rates["NGN"]))
    assert response.status_code == 200
    assert " ".join(response.json()) == "from to amount result rounded rate date source attribution"
    assert response.json() == {
        "from": "NGN",
        "to": "EUR",
        "amount": 100.0,
        "result": float(exact),
        "rounded": float(f"{exact:.2f}"),
        "rate": float(f"{exact / 100:.11e}"),
        "date": "2026-11-20",
        "source": "127.0.0.1",
        "attribution": None,
    }


async def test_amount_is_converted_by_the_rates_of_a_day(both):
    body = (await both.get("/convert?from=SEK&to=JPY&amount=12.5&date=2026-11-01")).json()

    assert body == {
        "from": "SEK",
        "to": "JPY",
        "amount": 12.5,
        "result": 203.604592653584,
        "rounded": 204.0,
        "rate": 16.2883674123,
        "date": "2026-10-30",
        "source": "ecb",
        "attribution": "Source: European Central Bank, https://www.ecb.europa.eu",
    }


async def test_same_currency_is_1(both):
    for code in ("EUR", "USD", "JPY"):
        body = (await both.get(f"/convert?from={code}&to={code}&amount=0.1")).json()
        assert (body["result"], body["rate"]) == (0.1, 1.0)


async def test_amount_is_1_where_none_is_given_and_may_be_0(both):
    body = (await both.get("/convert?from=EUR&to=SEK&date=2026-11-03")).json()
    assert (body["amount"], body["result"], body["rate"]) == (1.0, 10.977, 10.977)
    body = (await both.get("/convert?from=EUR&to=SEK&date=2026-11-03&amount=0")).json()
    assert (body["result"], body["rounded"]) == (0.0, 0.0)
    assert "-0" not in (await both.get("/convert?from=EUR&to=SEK&amount=-0")).text


@pytest.mark.engines("sqlite")
async def test_result_is_offered_in_the_minor_unit_of_the_target(both):
    rounded = {}
    for code in ("JPY", "EUR", "KWD", "BTC"):
        rounded[code] = (await both.get(f"/convert?from={code}&to={code}&amount=2.34565")).json()["rounded"]

    assert rounded == {"JPY": 2.0, "EUR": 2.35, "KWD": 2.346, "BTC": None}
    halves = [(await both.get(f"/convert?from=EUR&to=EUR&amount={a}")).json()["rounded"] for a in ("0.125", "0.135")]
    assert halves == [0.13, 0.14]
    largest = (await both.get("/convert?from=EUR&to=EUR&amount=999999999999999")).json()
    assert (largest["result"], largest["rounded"]) == (999999999999999.0, 999999999999999.0)


@pytest.mark.engines("sqlite")
async def test_triangle_returns_the_amount(both):
    chance, codes = random.Random(6), sorted(payloads.rates())
    for _ in range(30):
        a, b, c = chance.sample(codes, 3)
        amount = start = round(chance.uniform(0.01, 10_000), 4)
        for base, quote in ((a, b), (b, c), (c, a)):
            response = await both.get("/convert", params={"from": base, "to": quote, "amount": amount})
            amount = response.json()["result"]
        assert amount == pytest.approx(start, rel=1e-12), (a, b, c)


NOT_QUOTED = "QQQ is not quoted by ecb on 2026-11-03"
NO_NUMBER = {"amount": "must be a number, such as 100 or 12.5"}
NOT_EXACT = {"amount": "must have at most 17 digits, and be 0 or at least 1e-30"}


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ("", {"from": "is required", "to": "is required"}),
        ("from=EUR&to=QQQ", {"to": NOT_QUOTED}),
        ("from=QQQ&to=QQQ", {"from": NOT_QUOTED, "to": NOT_QUOTED}),
        ("from=E&to=USD", {"from": "must be a currency code of three letters, such as EUR"}),
        ("from=EUR&to=USD&amount=-1", {"amount": "must be at least 0"}),
        *((f"from=EUR&to=USD&amount={a}", NO_NUMBER) for a in ("ten", "NaN", "1_000", "%EF%BC%95", "%205")),
        ("from=EUR&to=USD&amount=1e400", {"amount": "must be at most 1000000000000000"}),
        *((f"from=EUR&to=USD&amount={amount}", NOT_EXACT) for amount in ("1e-31", "1.23456789012345678")),
        ("from=EUR&to=USD&date=2026-11-23", {"date": "is in the future"}),
        ("from=EUR&to=USD&date=tomorrow", {"date": "must be a day, such as 2026-11-21"}),
    ],
)
@pytest.mark.engines("sqlite")
async def test_what_can_not_be_converted_is_refused_by_name(history, query, details):
    response = await history.get(f"/convert?{query}")

    assert (response.status_code, response.json()) == (400, {"error": "Validation failed", "details": details})
