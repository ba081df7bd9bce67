"""The page at / as sent; test_browser.py opens it."""

import re
from datetime import date
from html import escape

import pytest

from app.core.config.sources import RATE_URLS
from tests.conftest import COUNTRIES, RATES, Client
from tests.core.http.test_stale_answers import client as calm  # noqa: F401
from tests.core.http.test_stale_answers import clock, frozen, monotonic, server  # noqa: F401
from tests.rates.conftest import add_history
from tests.support.statements import recorded
from tests.support.upstream import FakeUpstream, document

OFFERED = [("EUR", "Euro"), ("GHS", "Ghanaian Cedi"), ("USD", "US Dollar")]
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_browsers_get_the_page_and_other_clients_json(loaded: Client):
    page = await loaded.get("/", headers=BROWSER)
    named = await loaded.get("/?format=html")
    others = [await loaded.get("/", headers=headers) for headers in ({}, {"Accept": "*/*"}, {"Accept": "text/csv"})]

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.text.startswith("<!doctype html>")
    assert named.content == page.content
    assert {other.headers["content-type"] for other in others} == {"application/json"}
    assert {answer.headers["vary"] for answer in (page, *others)} <= {"Accept, Accept-Encoding", "Accept"}


async def test_page_is_cached_compressed_and_revalidated(loaded: Client):
    page = await loaded.get("/", headers={**BROWSER, "Accept-Encoding": "br"})
    with recorded(loaded.state["database"]) as seen:
        again = await loaded.get("/", headers={**BROWSER, "If-None-Match": page.headers["etag"]})

    assert (page.headers["content-encoding"], again.status_code, again.content) == ("br", 304, b"")
    assert seen == []
    assert int(page.headers["content-length"]) < len(page.content) / 4


async def test_page_shows_each_change_at_once(loaded: Client):
    before = (await loaded.get("/", headers=BROWSER)).text
    assert "<strong>250 countries</strong>" in before
    assert "</span> Ghana<td>" in before
    await loaded.delete("/countries/ghana")

    page = (await loaded.get("/", headers=BROWSER)).text
    assert "<strong>249 countries</strong>" in page
    assert "</span> Ghana<td>" not in page


async def test_converter_keeps_its_currencies_after_an_import_with_fewer(loaded: Client):
    page = (await loaded.get("/", headers=BROWSER)).text
    await add_history(loaded, days={date(2026, 11, 21): {"EUR": 1.0, "USD": 1.15}})

    assert (await loaded.get("/", headers=BROWSER)).text == page


async def test_converter_offers_current_money_by_name_and_the_address_takes_any_code(
    client: Client, upstream: FakeUpstream
):
    rates = {"EUR": 0.87, "GHS": 11.6, "XAU": 0.00025, "BTC": 0.00001, "DEM": 1.7, "QQQ": 5}
    upstream.answers[RATES] = document({"base": "USD", "date": "2026-11-20", "rates": rates})
    assert (await client.post("/countries/refresh")).status_code == 200

    page = (await client.get("/", headers=BROWSER)).text
    gold = await client.get("/convert?from=XAU&to=GHS&amount=1")

    choices = [f'<option value="{code}"{{}}>{code} – {name}</option>' for code, name in OFFERED]
    (first, second) = re.findall("<select id=.*? name=.*?>(.*?)</select>", page)
    assert first == "".join(choices).format("", "", " selected")
    assert second == "".join(choices).format(" selected", "", "")
    assert (gold.status_code, gold.json()["rounded"]) == (200, 46400.0)


CONVERTED = [
    ("1,000,000", "IRR", "EUR", "1,000,000 IRR = 0.55 EUR (rate 0.000000552381 of 2026-11-20)"),
    ("1,000.50", "USD", "EUR", "1,000.5 USD = 870.44 EUR (rate 0.87 of 2026-11-20)"),
    (" 100 ", "USD", "BHD", "100 USD = 37.600 BHD (rate 0.376 of 2026-11-20)"),
    ("1", "IRR", "EUR", "1 IRR = 0.000000552381 EUR (rate 0.000000552381 of 2026-11-20)"),
    (
        "12345678.9",
        "USD",
        "IRR",
        "12,345,678.9 USD = 19,444,444,267,500.00 IRR (rate 1,575,000 of 2026-11-20)",
    ),
    ("0", "USD", "EUR", "0 USD = 0.00 EUR (rate 0.87 of 2026-11-20)"),
    ("1,00", "USD", "EUR", "amount must be a number, such as 100 or 12.5"),
    ("<b>", "USD", "EUR", "amount must be a number, such as 100 or 12.5"),
    ("1", "USD", "ZZZ", "to ZZZ is not a known currency code"),
]
CONVERTER_RATES = {"EUR": 0.87, "BHD": 0.376, "IRR": 1_575_000}


async def test_page_converts_to_digits_that_count(client: Client, upstream: FakeUpstream):
    upstream.answers[RATES] = document({"base": "USD", "date": "2026-11-20", "rates": CONVERTER_RATES})
    assert (await client.post("/countries/refresh")).status_code == 200

    for amount, base, to, result in CONVERTED:
        page = await client.get("/", params={"amount": amount, "from": base, "to": to}, headers=BROWSER)
        assert f'<output id="converted">{result}</output>' in page.text
        assert f'name="amount" value="{escape(amount)}"' in page.text
        assert to == "ZZZ" or re.search(f'id="to".*<option value="{to}" selected', page.text)
    assert '<option value="IRR">' in page.text
    assert '<td data-v="1575000.0">1,575,000<' in page.text


async def test_page_names_the_source_of_the_rates_and_says_what_is_wrong_with_them(
    service, upstream: FakeUpstream, monkeypatch: pytest.MonkeyPatch
):
    rates = {"EUR": 0.87, "AED": 3.1, "SAR": 3}
    monkeypatch.setitem(RATE_URLS, "open.er-api.com", (upstream.url(RATES),))
    async with service(rate_sources="open.er-api.com") as client:
        upstream.answers[RATES] = document({"base": "USD", "date": "2026-10-20", "rates": rates})
        assert (await client.post("/countries/refresh")).json()["stale"]
        page = (await client.get("/", headers=BROWSER)).text
        assert re.findall('<p class="notice">(.*?)</p>', page) == [
            "The exchange rates are out of date: no source had newer ones at the last refresh.",
            "The exchange rates of AED, SAR may be wrong: the official peg says otherwise. "
            '<a href="status">The status</a> has the figures.',
        ]
        assert "Exchange rates: <strong>open.er-api.com</strong>, of" in page
        converted = (await client.get("/?amount=1&to=EUR", headers=BROWSER)).text
        assert "(rate 0.87 of 2026-10-20, Rates By Exchange Rate API, https://www.exchangerate-api.com)</" in converted
        assert page.split("Sources and licences of the data</a>.")[1].startswith(
            ' Exchange rates: Rates By Exchange Rate API, <a href="https://www.exchangerate-api.com" rel="noopener">'
        )
        assert not re.search("currency-api|Frankfurter", page)


@pytest.mark.engines("sqlite")
async def test_page_says_in_words_that_data_ship_with_the_service(service):
    async with service(country_sources="bundled", rate_sources="bundled") as client:
        assert (await client.post("/countries/refresh")).status_code == 200
        page = (await client.get("/?amount=1", headers=BROWSER)).text

    assert "Countries: data that ship with the service. Exchange rates: data that ship with the service, of" in page
    assert "</time>; refresh for today's.</p>" in page
    assert "currency-api, <a href=" in page.split("<footer>")[1]
    assert 'class="notice"' not in page
    assert "bundled" not in page


async def test_page_shows_the_countries_that_q_finds(loaded: Client):
    listed = await loaded.get("/countries?q=uk&sort=gdp_desc&fields=id")
    page = (await loaded.get("/?q=uk", headers=BROWSER)).text

    shown = [int(found) for found in re.findall(r'<tr data-id="(\d+)"><th', page)]
    assert shown == [country["id"] for country in listed.json()]
    assert page.count("<tr data-id=") == 250
    assert f'role="status">{len(shown)} countries<' in page
    assert 'name="q" value="uk"' in page
    assert 'href="countries?format=csv&amp;q=uk"' in page


async def test_searched_text_is_escaped_and_blank_or_long_ones_are_refused(loaded: Client):
    odd = '"><script>alert(1)</script>'
    page = (await loaded.get("/", params={"q": odd}, headers=BROWSER)).text
    refused = [await loaded.get(f"/?q={q}", headers=BROWSER) for q in ("", "a" * 201)]

    assert "<script>alert" not in page
    assert [answer.status_code for answer in refused] == [400, 400]


async def test_page_before_the_first_refresh_says_so_and_is_not_cached(client: Client):
    page = await client.get("/", headers=BROWSER)

    assert page.status_code == 200
    assert "Nothing is stored yet." in page.text
    assert "etag" not in page.headers
    status = await client.get("/status")
    details = "Nothing is stored yet; POST /countries/refresh loads it"
    assert (status.status_code, status.json()) == (404, {"error": "Country not found", "details": details})


async def test_names_from_sources_are_escaped(client: Client, upstream: FakeUpstream):
    record = {"name": "<script>alert(1)</script>", "capital": '"><img src=x onerror=alert(2)>', "population": 5}
    upstream.answers[COUNTRIES] = document([{**record, "currencies": [{"code": "GHS"}]}])
    assert (await client.post("/countries/refresh")).status_code == 200

    page = (await client.get("/", headers=BROWSER)).text
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.engines("sqlite")
async def test_page_is_stale_or_503_while_the_database_is_unavailable(calm, server, monotonic):  # noqa: F811
    page = await calm.get("/", headers=BROWSER)
    server.freeze()
    try:
        monotonic.seconds += 30
        stale = await calm.get("/", headers=BROWSER)
        monotonic.seconds += 3600
        none = await calm.get("/", headers=BROWSER)
    finally:
        server.thaw()

    assert (stale.status_code, stale.content, stale.headers["age"]) == (200, page.content, "30")
    assert (none.status_code, none.headers["retry-after"]) == (503, "2")
