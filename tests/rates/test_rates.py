"""The rates of the latest day and of any day, through HTTP and on both engines."""

from datetime import date
from decimal import Context, Decimal

import pytest

from tests.conftest import RATES, until_loaded
from tests.core.db.test_pool import until_started
from tests.rates.conftest import HISTORY, add_history
from tests.support import payloads
from tests.support.statements import recorded, tables_read
from tests.support.upstream import document

NEVER = {"error": "Rates not found", "details": "No rates are stored; POST /countries/refresh brings the day's"}
NO_DAY = {"date": "must be a day such as 2026-11-21, or a range such as 2026-11-01..2026-11-20"}
UNQUOTED = "is not quoted by ecb on 2026-11-03"
CODE = "a currency code of three letters, such as EUR"


async def test_latest_rates_are_those_of_the_newest_day(both):
    response = await both.get("/rates")

    body = response.json()
    assert response.status_code == 200
    assert list(body) == ["base", "date", "age_days", "older", "source", "attribution", "fixed", "rates"]
    assert (await both.get("/rates/latest")).json() == body
    rates = body.pop("rates")
    about = {"base": "USD", "date": "2026-11-20", "age_days": 1, "older": {}, "source": "127.0.0.1"}
    assert body == {**about, "attribution": None, "fixed": None}
    assert list(rates) == sorted(payloads.rates())
    assert rates == payloads.rates()
    assert rates["USD"] == 1

    await add_history(both, days={date(2026, 11, 21): {"EUR": 1.0, "USD": 1.15}})
    newer = (await both.get("/rates?base=EUR")).json()
    assert (newer["date"], newer["source"], newer["rates"]) == ("2026-11-21", "ecb", {"EUR": 1.0, "USD": 1.15})
    assert newer["age_days"] == 0


PER_DOLLAR = {
    "EUR": "0.87024627969715429467",
    "ISK": "126.35975981202680359",
    "JPY": "153.24166739187189975",
    "SEK": "9.5526934122356626925",
    "USD": "1",
}


async def test_latest_rates_without_a_refresh_are_the_newest_that_were_imported(history):
    assert (await history.get("/rates")).json() == {
        "base": "USD",
        "date": "2026-11-03",
        "age_days": 18,
        "older": {},
        "source": "ecb",
        "attribution": "Source: European Central Bank, https://www.ecb.europa.eu",
        "fixed": None,
        "rates": {code: float(rate) for code, rate in PER_DOLLAR.items()},
    }
    text = (await history.get("/rates?decimals=string")).json()
    assert text["rates"] == PER_DOLLAR


async def test_any_currency_is_the_base_and_symbols_choose(history):
    response = await history.get("/rates?base=eur&symbols=usd,%20SEK,usd")

    assert (response.json()["base"], response.json()["rates"]) == ("EUR", {"SEK": 10.977, "USD": 1.1491})
    response = await history.get("/rates?base=SEK&symbols=SEK,JPY")
    assert response.json()["rates"] == {"JPY": 16.041723603899062, "SEK": 1.0}


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("2026-10-29", "2026-10-29"),
        ("2026-10-30", "2026-10-30"),
        ("2026-11-01", "2026-10-30"),  # a Sunday
        ("2026-11-19", "2026-11-03"),
        ("2026-11-20", "2026-11-20"),
        ("2026-11-22", "2026-11-20"),  # somewhere it is tomorrow already
    ],
)
async def test_rates_of_a_day_are_the_last_known_on_or_before_it(both, asked, found):
    body = (await both.get(f"/rates/{asked}?base=EUR&symbols=USD")).json()

    source = "127.0.0.1" if found == "2026-11-20" else "ecb"
    assert (body["date"], body["source"]) == (found, source)
    if source == "ecb":
        assert body["rates"] == {"USD": HISTORY[date.fromisoformat(found)]["USD"]}


async def test_day_before_the_first_is_not_found(history, client):
    response = await history.get("/rates/2026-10-28")

    told = "Rates are stored from 2026-10-29 to 2026-11-03"
    assert (response.status_code, response.json()) == (404, {"error": "Rates not found", "details": told})


async def test_service_without_rates_says_how_to_get_them(client):
    for path in ("/rates", "/rates/2026-11-21", "/convert?from=USD&to=EUR"):
        response = await client.get(path)

        assert (path, response.status_code, response.json()) == (path, 404, NEVER)


async def test_source_can_be_chosen(both):
    assert (await both.get("/rates?source=ecb&symbols=USD&base=EUR")).json()["date"] == "2026-11-03"
    assert (await both.get("/rates/2026-11-20?source=ecb")).json()["date"] == "2026-11-03"
    for path, details in (
        ("/2026-11-19?source=127.0.0.1", "Rates of the source 127.0.0.1 are stored from 2026-11-20 to 2026-11-20"),
        ("?source=nobody", "No rates of the source nobody are stored; sources are: 127.0.0.1, ecb"),
    ):
        response = await both.get(f"/rates{path}")
        assert (response.status_code, response.json()["details"]) == (404, details)


@pytest.mark.parametrize("path", ["/rates", "/rates/2026-11-20", "/rates/2026-10-29..2026-11-20", "/convert"])
async def test_unknown_source_is_404_on_every_route(both, path):
    query = "from=EUR&to=USD" if path == "/convert" else "base=EUR&symbols=USD"
    response = await both.get(f"{path}?{query}&source=nobody")

    details = "No rates of the source nobody are stored; sources are: 127.0.0.1, ecb"
    assert (response.status_code, response.json()) == (404, {"error": "Rates not found", "details": details})


async def test_of_two_sources_with_the_same_day_the_one_that_was_refreshed_counts(loaded):
    await add_history(loaded, days={date(2026, 11, 20): {"EUR": 1.0, "USD": 2.0}})

    for path in ("/rates", "/rates/2026-11-20"):
        assert (await loaded.get(path)).json()["source"] == "127.0.0.1"
    assert (await loaded.get("/rates/2026-11-20?source=ecb&base=EUR")).json()["rates"] == {"EUR": 1.0, "USD": 2.0}


async def test_refresh_replaces_the_rates_of_its_day_and_keeps_newer_ones_as_the_latest(loaded, upstream):
    upstream.answers[RATES] = document(payloads.er_api(date(2026, 11, 19), GHS=11.5))
    assert (await loaded.post("/countries/refresh")).status_code == 200
    upstream.answers[RATES] = document(payloads.er_api(date(2026, 11, 19), GHS=11.25))
    assert (await loaded.post("/countries/refresh")).status_code == 200

    replaced = (await loaded.get("/rates/2026-11-19?symbols=GHS")).json()
    assert (replaced["date"], replaced["rates"]) == ("2026-11-19", {"GHS": 11.25})
    for path in ("/rates", "/rates/2026-11-21"):
        latest = (await loaded.get(f"{path}?symbols=GHS")).json()
        assert (latest["date"], latest["rates"]["GHS"]) == ("2026-11-20", payloads.rates()["GHS"])


async def test_rate_that_was_not_believed_is_the_last_one_with_its_own_day(loaded, upstream):
    upstream.answers[RATES] = document(payloads.er_api(date(2026, 11, 22), GHS=1.0, NGN=float("1e400")))
    assert (await loaded.post("/countries/refresh")).status_code == 200

    latest, ghs = [(await loaded.get(path)).json() for path in ("/rates", "/rates?symbols=GHS,EUR")]
    assert latest["date"] == "2026-11-22"
    assert latest["older"] == {"GHS": "2026-11-20", "NGN": "2026-11-20"}
    assert [latest["rates"][code] for code in ("GHS", "NGN")] == [payloads.rates()[code] for code in ("GHS", "NGN")]
    assert (ghs["date"], ghs["rates"]["GHS"]) == ("2026-11-20", payloads.rates()["GHS"])
    response = await loaded.get("/rates/2026-11-19?symbols=GHS")
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("path", "details"),
    [
        ("/rates?base=QQQ", {"base": "QQQ is not a known currency code"}),
        ("/rates?symbols=EUR,NGN,GHS", {"symbols": "GHS, NGN are not quoted by ecb on 2026-11-03"}),
        ("/rates?symbols=QQQ,GHS", {"symbols": f"GHS {UNQUOTED}. QQQ is not a known currency code"}),
        ("/rates?base=TRL", {"base": f"TRL {UNQUOTED}; it was replaced by TRY"}),
        (
            "/rates/2026-10-30?base=ISK",
            {"base": "ISK is not quoted by ecb on 2026-10-30; its first rate is of 2026-11-02"},
        ),
        *((f"/rates?base={code}", {"base": f"must be {CODE}"}) for code in ("euro", "%C3%9Fa")),
        ("/rates?symbols=EUR,", {"symbols": "must not have an empty value before or after a comma"}),
        ("/rates?symbols=EUR;USD", {"symbols": f"'EUR;USD' is not {CODE}"}),
        ("/rates?format=xml", {"format": "must be one of: json, csv, ndjson"}),
        ("/rates?currency=EUR", {"currency": "unknown parameter; allowed: base, symbols, source, decimals, format"}),
        ("/rates?decimals=exact", {"decimals": "must be one of: number, string"}),
        *((f"/rates/{text}", NO_DAY) for text in ("yesterday", "1763683200", "2026-11-03T10:00:00Z")),
        ("/rates/2026-02-30", {"date": "must be a day, such as 2026-11-21"}),
        ("/rates/2026-11-23", {"date": "is in the future"}),
    ],
)
@pytest.mark.engines("sqlite")
async def test_what_can_not_be_answered_is_refused_by_name(history, path, details):
    response = await history.get(path)

    assert (response.status_code, response.json()) == (400, {"error": "Validation failed", "details": details})


async def test_table_of_rates_is_csv_or_ndjson_on_request(history):
    csv = await history.get("/rates/2026-10-30?base=EUR&format=csv")
    assert csv.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert csv.headers["Content-Disposition"] == 'attachment; filename="rates-2026-10-30.csv"'
    assert csv.text == (
        "\ufeffdate,base,quote,rate,source\r\n"
        "2026-10-30,EUR,EUR,1.0,ecb\r\n"
        "2026-10-30,EUR,JPY,178.04,ecb\r\n"
        "2026-10-30,EUR,SEK,10.9305,ecb\r\n"
        "2026-10-30,EUR,USD,1.1554,ecb\r\n"
    )
    csv = await history.get("/rates/2026-10-30?base=USD&symbols=EUR,USD&format=csv&decimals=string")
    assert csv.text.splitlines()[1:] == [
        "2026-10-30,USD,EUR,0.8655011251514626969,ecb",
        "2026-10-30,USD,USD,1,ecb",
    ]
    ndjson = await history.get("/rates/2026-10-30?base=EUR&symbols=USD", headers={"Accept": "application/x-ndjson"})
    assert ndjson.headers["Content-Type"] == "application/x-ndjson"
    assert ndjson.text == '{"date":"2026-10-30","base":"EUR","quote":"USD","rate":1.1554,"source":"ecb"}\n'


async def test_days_that_are_over_are_kept_without_asking_and_the_others_are_asked_for(both):
    asked, series = ("public, max-age=0, must-revalidate", None), ("public, max-age=86400, immutable", None)
    past = ("public, immutable", "Sun, 22 Nov 2026 00:00:00 GMT")  # age_days changes then
    for path, caching in (
        ("/rates", asked),
        ("/rates/2026-11-10", past),
        ("/rates/2026-11-11", asked),  # a week behind the last known day, so that one may still be missing
        ("/rates/2026-11-14", asked),
        ("/rates/2026-11-21", asked),
        ("/rates/2026-10-01..2026-11-13", series),
        ("/rates/2026-10-01..2026-11-14", asked),
        ("/rates/2026-10-01..", asked),
        ("/convert?from=EUR&to=USD&date=2026-11-10", past),
        ("/convert?from=EUR&to=USD&date=2026-11-14", asked),
    ):
        answer = await both.get(path)
        again = await both.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        found = [(each.headers["Cache-Control"], each.headers.get("Expires")) for each in (answer, again)]
        assert (path, found) == (path, [caching, caching])
        assert again.status_code == 304


async def test_day_that_a_refresh_brings_late_shows_at_once(client, upstream):
    """As after a long weekend, over which a source is silent."""
    answers = []
    for day, rate in (("2026-11-16", 12.0), ("2026-11-17", 12.5)):
        upstream.answers[RATES] = document({"base": "USD", "date": day, "rates": {"GHS": rate}})
        assert (await client.post("/countries/refresh")).status_code == 200
        answers.append(await client.get("/rates/2026-11-17?symbols=GHS"))

    assert [answer.json()["rates"]["GHS"] for answer in answers] == [12.0, 12.5]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"public, max-age=0, must-revalidate"}


async def test_answers_change_with_an_import(loaded):
    path = "/rates/2026-11-19?base=EUR&symbols=USD"
    before = await loaded.get(path)
    await add_history(loaded)

    assert before.status_code == 404
    assert (await loaded.get(path)).json()["date"] == "2026-11-03"
    await add_history(loaded, days={date(2026, 11, 18): {"EUR": 1.0, "USD": 1.15}})
    assert (await loaded.get(path)).json()["date"] == "2026-11-18"


async def test_one_day_takes_a_fixed_number_of_statements(both):
    await until_loaded(both)
    for path, tables in (
        ("/rates", []),
        ("/convert?from=EUR&to=SEK,USD", []),
        ("/rates/2026-10-30", ["currency_span", "exchange_rate"]),
        ("/convert?from=EUR&to=SEK,USD&date=2026-10-30", []),
    ):
        with recorded(both.state["database"]) as statements:
            assert (await both.get(path)).status_code == 200

        assert (path, tables_read(statements)) == (path, tables)


async def test_cross_rates_are_exact_to_the_last_digit_of_a_double(both):
    rates, shown = payloads.rates(), (await both.get("/rates?base=NGN")).json()["rates"]
    text = (await both.get("/rates?base=NGN&decimals=string")).json()["rates"]

    for code, rate in rates.items():
        quotient = Context(prec=20).divide(Decimal(repr(rate)), Decimal(repr(rates["NGN"])))
        assert (code, Decimal(text[code]), "E" in text[code]) == (code, quotient, False)
        assert (code, shown[code]) == (code, float(quotient))


async def test_day_is_that_of_a_source_that_quotes_what_is_wanted(loaded):
    later = {date(2026, 11, 21): {"EUR": 1.0, "USD": 1.15}}
    await add_history(loaded, days=later)

    for query, source in (("", "ecb"), ("?symbols=EUR,GHS", "127.0.0.1"), ("?base=GHS", "127.0.0.1")):
        assert (query, (await loaded.get(f"/rates/2026-11-21{query}")).json()["source"]) == (query, source)
    body = (await loaded.get("/convert?from=USD&to=GHS&date=2026-11-21")).json()
    assert (body["date"], body["source"]) == ("2026-11-20", "127.0.0.1")


STOPPED = {
    date(2022, 3, 1): {"EUR": 1.0, "USD": 1.1162, "RUB": 117.201, "BGN": 1.9558, "HRK": 7.5695},
    date(2022, 3, 4): {"EUR": 1.0, "USD": 1.0929},
    date(2022, 3, 9): {"EUR": 1.0, "USD": 1.0993},
    date(2026, 11, 21): {"EUR": 1.0, "USD": 1.15},
}
"""A source that stopped quoting three currencies in March 2022."""


async def test_source_that_stopped_quoting_a_currency_hides_no_other(loaded, upstream):
    await add_history(loaded, days=STOPPED)
    other = document({"base": "USD", "date": "2026-11-20", "rates": {"EUR": 0.8, "RUB": 2.5}})
    upstream.answers[RATES] = other
    assert (await loaded.post("/countries/refresh?force=true")).status_code == 200

    bodies = [
        (await loaded.get(path)).json()
        for path in (
            *(f"/rates{day}?symbols=RUB" for day in ("", "/2026-11-21")),
            *(f"/rates{day}?base=RUB&symbols=RUB,USD" for day in ("", "/2026-11-21")),
            *(f"/convert?from=USD&to=RUB{day}" for day in ("", "&date=2026-11-21")),
        )
    ]

    assert {(body["date"], body["source"]) for body in bodies} == {("2026-11-20", "127.0.0.1")}
    assert [body["rates"] for body in bodies[:4]] == [{"RUB": 2.5}] * 2 + [{"RUB": 1.0, "USD": 0.4}] * 2
    assert [body["result"] for body in bodies[4:]] == [2.5, 2.5]


async def test_currency_is_quoted_for_a_week_after_its_last_rate(client):
    await add_history(client, days=STOPPED)
    answers = [await client.get(f"/convert?from=EUR&to=RUB&date=2022-03-{day}") for day in ("02", "08", "09")]

    told = "RUB is not quoted by ecb on 2022-03-09; its last rate is of 2022-03-01"
    assert [(answer.json()["date"], answer.json()["rate"]) for answer in answers[:2]] == [("2022-03-01", 117.201)] * 2
    assert answers[2].json()["details"] == {"to": told}


async def test_rates_of_an_old_source_are_used_for_what_no_other_has(loaded):
    """As of bundled rates after an import that is newer."""
    await add_history(loaded, days={date(2027, 3, 1): {"EUR": 1.0, "USD": 1.15}})

    for query, found in (("EUR", "2027-03-01"), ("EUR,GHS", "2026-11-20")):
        assert (query, (await loaded.get(f"/rates?symbols={query}")).json()["date"]) == (query, found)


async def test_day_that_lacks_a_currency_takes_three_queries(client):
    await until_started(client)
    await add_history(client, days=STOPPED)
    with recorded(client.state["database"]) as statements:
        assert (await client.get("/convert?from=EUR&to=RUB&date=2022-03-05")).status_code == 200

    assert tables_read(statements) == ["currency_span", "currency_span", "exchange_rate", "exchange_rate"]
