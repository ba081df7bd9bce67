"""Conversion: exact, in both directions, on any day, to one currency or several."""

import random
from datetime import date
from decimal import Context, Decimal, localcontext

import pytest

from tests.rates.conftest import add_history
from tests.support import payloads
from tests.support.statements import recorded, tables_read


async def test_amount_is_converted_by_the_latest_rates(both):
    response = await both.get("/convert?from=ngn&to=EUR&amount=100")

    rates = payloads.rates()
    rate = Context(prec=20).divide(Decimal(repr(rates["EUR"])), Decimal(repr(rates["NGN"])))
    assert response.status_code == 200
    fields = "from to amount result rounded rate date age_days source attribution fixed"
    assert " ".join(response.json()) == fields
    assert response.json() == {
        "from": "NGN",
        "to": "EUR",
        "amount": 100.0,
        "result": float(rate * 100),
        "rounded": float(f"{rate * 100:.2f}"),
        "rate": float(rate),
        "date": "2026-11-20",
        "age_days": 1,
        "source": "127.0.0.1",
        "attribution": None,
        "fixed": None,
    }


async def test_amount_is_converted_by_the_rates_of_a_day(both):
    body = (await both.get("/convert?from=SEK&to=JPY&amount=12.5&date=2026-11-01")).json()

    assert body == {
        "from": "SEK",
        "to": "JPY",
        "amount": 12.5,
        "result": 203.604592653584,
        "rounded": 204.0,
        "rate": 16.28836741228672,
        "date": "2026-10-30",
        "age_days": 22,
        "source": "ecb",
        "attribution": "Source: European Central Bank, https://www.ecb.europa.eu",
        "fixed": None,
    }


async def test_result_is_the_amount_times_the_rate_to_the_last_digit(both):
    for amount in ("100", "12.5", "0.07", "80000000000000.01", "1234567.89012345"):
        for base, quote in (("NGN", "EUR"), ("USD", "BTC"), ("BTC", "IRR"), ("EUR", "KWD"), ("EUR", "EUR")):
            query = f"from={base}&to={quote}&amount={amount}"
            text = (await both.get(f"/convert?{query}&decimals=string")).json()
            number = (await both.get(f"/convert?{query}")).json()

            result = Context(prec=60).multiply(Decimal(text["rate"]), Decimal(amount))
            assert (query, text["amount"], Decimal(text["result"])) == (query, amount, result)
            assert (query, number["result"]) == (query, float(text["result"]))
            assert (query, number["rate"]) == (query, float(text["rate"]))
            assert (number["rounded"] is None) == (text["rounded"] is None) == (quote == "BTC")
            assert quote == "BTC" or number["rounded"] == float(text["rounded"])


@pytest.mark.engines("sqlite")
async def test_parts_add_up_to_the_whole(both):
    chance, codes = random.Random(17), sorted(payloads.rates())
    for _ in range(20):
        base, *targets = chance.sample(codes, 51)
        cents = [chance.randrange(10 ** chance.randint(1, 16)) for _ in range(3)]
        converted = []
        for part in (*cents, sum(cents)):
            amount = f"{part // 100}.{part % 100:02}"
            query = f"from={base}&to={','.join(targets)}&decimals=string&amount={amount}"
            converted.append([Decimal(each["result"]) for each in (await both.get(f"/convert?{query}")).json()])

        with localcontext(prec=40):
            *parts, whole = converted
            assert [sum(results) for results in zip(*parts, strict=True)] == whole


@pytest.mark.engines("sqlite")
async def test_decimals_have_no_exponent_and_no_double_has_touched_them(client):
    rates = {"EUR": 1.0, "IRR": 1e15, "XAU": 1e-12, "USD": 1.1554}
    await add_history(client, days={date(2026, 11, 20): rates})
    query = "/convert?from=EUR&decimals=string&"
    small = (await client.get(f"{query}to=XAU&amount=1e-3")).json()
    large = (await client.get(f"{query}to=IRR&amount=80000000000000.01")).json()
    money = (await client.get(f"{query}to=USD&amount=80000000000000.01")).json()

    assert [small[name] for name in ("amount", "rate", "result", "rounded")] == [
        *("0.001", "0.000000000001", "0.000000000000001", None),
    ]
    assert (large["rate"], large["result"]) == ("1000000000000000", "80000000000000010000000000000")
    assert (money["result"], money["rounded"]) == ("92432000000000.011554", "92432000000000.01")
    even = (await client.get(f"{query}to=USD&amount=100")).json()
    assert (even["amount"], even["result"], even["rounded"]) == ("100", "115.54", "115.54")
    assert (await client.get(f"{query}to=EUR&amount=7")).json()["rounded"] == "7.00"
    assert "-0" not in (await client.get(f"{query}to=USD&amount=-0")).text


async def test_several_targets_are_a_list_in_the_order_of_the_request(both):
    response = await both.get("/convert?from=USD&to=ngn,EUR,JPY,ngn&amount=5&date=2026-11-21")

    single = [
        (await both.get(f"/convert?from=USD&to={code}&amount=5&date=2026-11-21")).json()
        for code in ("NGN", "EUR", "JPY")
    ]
    assert (response.status_code, response.json()) == (200, single)
    (alone,) = [(await both.get("/convert?from=USD&to=EUR,eur&amount=5&date=2026-11-21")).json()]
    assert alone == single[1]


async def test_several_targets_share_a_day_and_source_where_one_quotes_them_all(both):
    await add_history(both, days={date(2026, 11, 21): {"EUR": 1.0, "USD": 1.15, "SEK": 11.0}})

    for targets, found in (
        ("EUR,SEK", {("2026-11-21", "ecb")}),
        ("EUR,NGN", {("2026-11-20", "127.0.0.1")}),
    ):
        answers = (await both.get(f"/convert?from=USD&to={targets}")).json()
        assert (targets, {(each["date"], each["source"]) for each in answers}) == (targets, found)


async def test_targets_that_no_source_quotes_together_are_converted_each_by_its_own(history):
    await add_history(history, source="other", days={date(2026, 11, 2): {"USD": 1.0, "EUR": 0.87, "GHS": 11.5}})
    both, one = await history.get("/convert?from=USD&to=SEK,GHS"), await history.get("/convert?from=USD&to=GHS,QQQ")

    assert [(each["to"], each["date"], each["source"]) for each in both.json()] == [
        ("SEK", "2026-11-03", "ecb"),
        ("GHS", "2026-11-02", "other"),
    ]
    assert (one.status_code, one.json()["details"]) == (400, {"to": "QQQ is not a known currency code"})


@pytest.mark.engines("sqlite")
async def test_target_that_nobody_quotes_is_refused_before_the_others_are_looked_up(history):
    await add_history(history, source="other", days={date(2026, 11, 2): {"USD": 1.0, "EUR": 0.87, "GHS": 11.5}})
    await add_history(history, days={date(2004, 12, 31): {"EUR": 1.0, "USD": 1.36, "TRL": 1836200.0}})
    with recorded(history.state["database"]) as statements:
        response = await history.get("/convert?from=USD&to=SEK,GHS,EUR,JPY,ISK,TRL")

    details = {"to": "TRL is not quoted by ecb on 2026-11-03; it was replaced by TRY"}
    assert (response.status_code, response.json()["details"]) == (400, details)
    assert tables_read(statements) == ["currency_span", "currency_span", "exchange_rate", "exchange_rate"]


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
    for code in ("JPY", "EUR", "RSD", "KWD", "IQD", "XAU", "BTC"):
        rounded[code] = (await both.get(f"/convert?from={code}&to={code}&amount=2.34565")).json()["rounded"]

    assert rounded == {"JPY": 2.0, "EUR": 2.35, "RSD": 2.35, "KWD": 2.346, "IQD": 2.346, "XAU": None, "BTC": None}
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


UNKNOWN = "QQQ is not a known currency code"
REPLACED = "GHC is not quoted by ecb on 2026-11-03; it was replaced by GHS. QQQ is not a known currency code"
TOO_EARLY = "ISK is not quoted by ecb on 2026-10-30; its first rate is of 2026-11-02"
EMPTY = "must not have an empty value before or after a comma"
NO_NUMBER = {"amount": "must be a number, such as 100 or 12.5"}
NOT_EXACT = {"amount": "must have at most 17 digits, and be 0 or at least 1e-30"}


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ("", {"from": "is required", "to": "is required"}),
        ("from=EUR&to=QQQ", {"to": UNKNOWN}),
        ("from=QQQ&to=QQQ", {"from": UNKNOWN, "to": UNKNOWN}),
        ("from=E&to=USD", {"from": "must be a currency code of three letters, such as EUR"}),
        ("from=EUR&to=USD,", {"to": EMPTY}),
        ("from=EUR&to=,", {"to": EMPTY}),
        ("from=EUR&to=USD,QQQ,GHC", {"to": REPLACED}),
        ("from=EUR&to=ISK&date=2026-10-30", {"to": TOO_EARLY}),
        (f"from=EUR&to={','.join(['USD'] * 51)}", {"to": "must have at most 50 currency codes"}),
        ("from=EUR&to=USD&decimals=text", {"decimals": "must be one of: number, string"}),
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
