"""A hostile upstream: each fault of a source is the promised 503 or a skipped record, and costs little.

On SQLite only, where the whole file can be compared: the faults do not reach the database.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Final

import httpx
import pytest

from checks.support import hostile
from checks.support.hostile import MIB, Cases, because, named_with_a_face, without_length
from checks.support.hostile_target import LIMIT, Target, started
from checks.support.rows import row
from tests.conftest import COUNTRIES, RATES, usual_answers
from tests.support import payloads
from tests.support.mariadb import free_port
from tests.support.service import ROOT, ServiceProcess
from tests.support.upstream import Answer, Request, body, document, hang

pytestmark = [pytest.mark.engines("sqlite")]

SOURCES: Final = {"countries": (COUNTRIES, "country API"), "rates": (RATES, "exchange rate API")}


@pytest.fixture
async def target(tmp_path, database_url, upstream) -> AsyncIterator[Target]:
    async with started(Target(tmp_path, database_url, upstream)) as service:
        yield service


async def all_must_fail(target: Target, source: str, cases: Cases, *, is_full: bool) -> None:
    """Try all cases, or every twentieth."""
    path, api = SOURCES[source]
    for case, (answer, reason) in list(cases.items())[:: 1 if is_full else 20]:
        await target.must_fail(case, {path: answer}, api, reason)


@pytest.mark.parametrize("source", [row(f"5.1 hostile HTTP, {name}", name) for name in SOURCES])
async def test_upstream_with_broken_http_is_503_and_changes_nothing(target, source, is_full, figure):
    """Seen to fail when 16 MiB were allowed: the gzip bomb reached four times the limit."""
    cases = {**hostile.PROTOCOL, **hostile.STATUSES, **hostile.codings()}
    await all_must_fail(target, source, cases, is_full=is_full)
    figure(target.judge())


UNUSABLE: Final = "answered without a single usable country"
NO_RATE: Final = "answered without a single usable rate"
UNKNOWN: Final = "answered in an unknown format"
NO_BASE: Final = "answered with rates for an unknown base"
NO_TIME: Final = "answered with an invalid update time"
NOT_NUMBERS: Final = ("NaN", "Infinity", "-Infinity", "1e400", "9" * 5000, "true", "null", '"five"', "[]", "{}")

NOT_PEOPLE: Final = tuple(number for number in NOT_NUMBERS if number != '"5"')


def in_json(content: object, value: str) -> Answer:
    """The content as JSON, with the value, which is JSON already, in place of each ``@``."""
    return body(json.dumps(content).replace('"@"', value).encode())


def for_all(**changes: object) -> list[dict[str, Any]]:
    """The usual countries with these changes."""
    return [{**record, **changes} for record in payloads.v3_1()]


async def endless_pages(_: Request, writer: asyncio.StreamWriter) -> None:
    """Page after page of REST Countries v5, each of which announces more."""
    await document({"data": {"objects": [{"name": ""}], "meta": {"more": True}}})(_, writer)


def scalars(*others: bytes) -> Cases:
    texts = (b"null", b"true", b"42", b'"text"', b"{}", b"NaN", *others)
    return because(UNKNOWN, {f"the document {text!r}": body(text) for text in texts})


def country_lists() -> Cases:
    """Documents that are not a list of countries, or not a plausible one."""
    face = named_with_a_face(LIMIT - 4096)
    face_and_values = named_with_a_face(LIMIT - 200_000)[:-1] + b",{}" * 40_000 + b"]"
    names = ("", " ", "\x00\x07", "\ud800", "\udfff\ud800", "\u0301", "x" * 201, "\ufdfa" * 200)
    error = {"success": False, "errors": [{"message": "a\ud800\x00b"}]}
    truncated = "answered with 124 countries while 250 are stored, which looks truncated"
    return {
        **scalars(),
        **because(
            UNUSABLE,
            {
                "an empty list": body(b"[]"),
                "a list of lists": document([[[]]] * 250),
                "a name of 4 MB that takes 16": without_length(face),
                "such a name and many values": without_length(face_and_values),
                "nameless rows": without_length(b"[" + b"{}," * 40_000 + b"{}]"),
                **{f"every name {name!r}"[:40]: document(for_all(name={"common": name})) for name in names},
                **{
                    f"every population {number[:9]}": in_json(for_all(population="@"), number)
                    for number in (*NOT_PEOPLE, "-5", "-0.1", "10000000001")
                },
            },
        ),
        "rows without people": (
            without_length(hostile.rows(40_000)),
            f"{UNUSABLE}: no field looks like a population; seen: name",
        ),
        "no currencies": (
            document([{**record, "currencies": "Cedi"} for record in payloads.v3_1()]),
            "answered in an unknown format: no currency has a code that can be read; force=true accepts it",
        ),
        "an error with 200": (document(error), "answered with an error: a b"),
        "a message of 1 MB": (document({"message": "x" * MIB}), f"answered with an error: {'x' * 120}"),
        "pages without an end": (endless_pages, "timed out after 0 s"),
        "124 of 250 countries": (document(payloads.v3_1()[:124]), truncated),
    }


def rate_lists() -> Cases:
    """Documents that are not rates, or not plausible ones."""
    usual = payloads.er_api()
    face = named_with_a_face(LIMIT - 4096)
    all_rates = {**usual, "rates": dict.fromkeys(payloads.rates(), "@")}
    error = {"result": "error", "error-type": "quota\x00\ud800"}
    cases: Cases = {
        **scalars(b"[]"),
        **because(
            NO_RATE,
            {
                "no rates": document({**usual, "rates": {}}),
                "such a code": without_length(b'{"base":"USD","rates":{' + face[9:-18] + b'":1}}'),
                "40,000 codes": document({"base": "USD", "rates": {f"X{n}": 1 for n in range(40_000)}}),
                **{
                    f"every rate {number[:9]}": in_json(all_rates, number)
                    for number in (*NOT_NUMBERS, "0", "-0.0", "-1", "1e-300", "1e15000")
                },
            },
        ),
        "an error with 200": (document(error), "answered with an error"),
        "a name of 4 MB that takes 16": (without_length(face), f"{UNKNOWN}; seen: name, population"),
        "dollars that are called euros": (
            document({**usual, "base_code": "EUR"}),
            "answered with a rate for EUR that is not 1",
        ),
        "no base": (document({**usual, "base_code": None}), NO_BASE),
        "a dollar of two dollars": (
            document(payloads.er_api(USD=2)),
            "answered with a rate for USD that is not 1",
        ),
        **{
            f"rates of {day[:4]}": (document({**usual, "time_last_update_unix": time}), f"answered with rates of {day}")
            for time, day in ((4e9, "2096-10-02, which is in the future"), (0, "1970-01-01, which is too old"))
        },
    }
    time = {**usual, "time_last_update_unix": "@"}
    times = ("NaN", "Infinity", "1e400", "9" * 5000, "1e300", '"\\ud800"', "[]")
    cases |= because(NO_TIME, {f"the time {number[:9]}": in_json(time, number) for number in times})
    nested: dict[str, tuple[dict[str, Any], str]] = {
        "a base": ({**usual, "base_code": "@"}, NO_BASE),
        "a day": ({"base": "USD", "rates": {"EUR": 1}, "date": "@"}, "answered with an invalid date"),
        "an error": ({"result": "x", "error-type": "@"}, "answered with an error"),
        "a time": (time, NO_TIME),
    }
    for depth in (900, 950):
        for name, (content, reason) in nested.items():
            cases[f"{name} {depth} deep"] = in_json(content, "[" * depth + "]" * depth), reason
    return cases


def rate_files() -> Cases:
    """XML as the European Central Bank's, but for its content."""
    xml = b'<x xmlns="http://www.ecb.int/vocabulary/2002-08-01/eurofxref"'
    entities = b'<!DOCTYPE eurofxref [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    attributes = b"".join(b' a%d=""' % number for number in range(300_000))
    return {
        "300,000 attributes": (
            body(xml + attributes + b"/>"),
            "answered with more values than fit into {limit:,} bytes",
        ),
        "80,000 elements": (body(xml + b">" + b"<a/>" * 80_000 + b"</x>"), "answered with an invalid date"),
        "80,000 deep": (body(xml + b">" + b"<a>" * 80_000), "answered with XML that is nested too deeply"),
        "entities": (body(entities + xml + b"/>"), "answered with XML that declares a document type"),
    }


@pytest.mark.row("5.2 hostile documents, countries")
async def test_unusable_country_list_is_503_and_changes_nothing(target, is_full, figure):
    """Seen to fail without a limit on JSON values: a million rows of two bytes were read, for 100 to 400 MB."""
    await all_must_fail(target, "countries", {**hostile.documents(), **country_lists()}, is_full=is_full)
    figure(target.judge())


@pytest.mark.row("5.2 hostile documents, rates")
async def test_unusable_rates_are_503_and_change_nothing(target, is_full, figure):
    """Seen to fail with codes folded to upper case whole (+67 MB), and with a nested base shown as text (500)."""
    await all_must_fail(target, "rates", {**hostile.documents(), **rate_lists(), **rate_files()}, is_full=is_full)
    figure(target.judge())


@pytest.mark.row("5.3 no connection, bad TLS, no name")
async def test_upstream_without_connection_or_trust_is_503(tmp_path, database_url, upstream, is_full, figure):
    """Seen to fail with certificates unchecked: the expired one was accepted."""
    certificates = {
        "expired": hostile.make_certificate(tmp_path, "expired", days=-1),
        "of another host": hostile.make_certificate(tmp_path, "other", host="127.0.0.2"),
        "of an unknown authority": hostile.make_certificate(tmp_path, "unknown", issuer="stranger"),
    }
    valid = hostile.make_certificate(tmp_path, "valid")
    trusted = [valid[0], certificates["expired"][0], certificates["of another host"][0]]
    trusting = f"{hostile.trust(trusted, tmp_path / 'trust')}:{ROOT}"
    service = Target(tmp_path, database_url, upstream, pythonpath=trusting)
    async with AsyncExitStack() as stack:
        good = await stack.enter_async_context(hostile.over_tls(usual_answers(), *valid))
        plain = await asyncio.start_server(speak_plainly, "127.0.0.1")
        stack.push_async_callback(plain.wait_closed)
        stack.callback(plain.close)
        urls = {
            "refused": (f"http://127.0.0.1:{free_port()}/", "127.0.0.1: could not connect"),
            "plain text on a port for TLS": (
                f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/",
                "127.0.0.1: could not connect (TLS: WRONG_VERSION_NUMBER)",
            ),
            "no such name": ("http://no-such-host.invalid/", "no-such-host.invalid: could not connect"),
        }
        for name, files in certificates.items():
            server = await stack.enter_async_context(hostile.over_tls(usual_answers(), *files))
            urls[f"certificate {name}"] = (server.url(COUNTRIES), CERTIFICATES[name])
        for source, (path, api) in SOURCES.items() if is_full else (("countries", SOURCES["countries"]),):
            setting = "country_sources" if source == "countries" else "rate_sources"
            for case, (url, reason) in list(urls.items())[:: 1 if is_full else 4]:
                service.settings[setting] = url
                await service.must_fail_from_the_start(f"{case}, {source}", api, reason)
            # A valid certificate passes: the others were refused for their faults.
            service.settings[setting] = good.url(path)
        await service.start()
        await service.stop()
    figure(service.judge())


async def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    writer.close()


CERTIFICATES: Final = {
    name: f"127.0.0.1: could not connect ({reason})"
    for name, reason in {
        "expired": "certificate has expired",
        "of another host": "IP address mismatch, certificate is not valid for '127.0.0.1'.",
        "of an unknown authority": "unable to get local issuer certificate",
    }.items()
}

NAMELESS: Final = ('""', '"\\u0000\\u202e"', '"\\ud800"', '{"common":["x"]}', f'"{"x" * 1_000_000}"')
ODD_COUNTRIES: Final = {
    **{f'{{"name":{name},"population":1}}': ("(no name)", "has no usable name") for name in NAMELESS},
    "[[[]]]": ("(no name)", "is not an object"),
    **{
        f'{{"name":"X","population":{number}}}': ("X", "its population is not a number in range")
        for number in ("-5", "-0.1", *NOT_PEOPLE[:-1])
    },
    '{"name":"Ghana","population":1}': ("Ghana", "is a second record for the same country"),
    '{"name":"Other","cca2":"GH","population":1}': ("Other", "is a second record for the same country"),
}
ODD_RATES: Final = ("0", "-0.0", "-1", "1e-300", *(number for number in NOT_NUMBERS if number not in ("true", "{}")))


@pytest.mark.row("5.4 records skipped and reported")
async def test_unusable_record_is_skipped_and_all_others_are_stored(target, figure):
    """Seen to fail where a population of NaN passed the check of its range: 500."""
    usual = json.dumps(payloads.v3_1())
    odd = body(f"{usual[:-1]},{','.join(ODD_COUNTRIES)}]".encode())
    response = await target.refresh("odd countries", {COUNTRIES: odd})
    assert (response.status_code, skipped(response)) == (200, list(ODD_COUNTRIES.values()))
    countries = (await target.client.get("/countries")).json()
    assert {c["name"]: c["population"] for c in countries} == {
        r["name"]["common"]: r["population"] for r in payloads.v3_1()
    }
    codes = [code for code in payloads.rates() if code != "USD"][: len(ODD_RATES)]
    odd_rates = {code: f"@{number}@" for code, number in zip(codes, ODD_RATES, strict=True)}
    text = json.dumps(payloads.er_api() | {"rates": {**payloads.rates(), **odd_rates}})
    for number in ODD_RATES:
        text = text.replace(json.dumps(f"@{number}@"), number)
    twice = text.replace('"rates": {', '"rates": {"Usd": 1, "eur": 5, "US": 1, "TOOLONG": 1, "\\ud800XY": 1, "": 1, ')
    response = await target.refresh("odd rates", {RATES: body(twice.encode())})
    reason = "its rate is not a number in range"
    expected = {(code, reason) for code in codes} | {(code, "its rate is given twice") for code in ("USD", "EUR")}
    assert (response.status_code, set(skipped(response))) == (200, expected)
    rates = (await target.client.get("/rates")).json()["rates"]
    assert (rates["USD"], rates["EUR"]) == (1, 5)
    assert not set(codes) & {
        c["currency_code"] for c in (await target.client.get("/countries")).json() if c["exchange_rate"]
    }
    figure(
        f"{len(ODD_COUNTRIES)} odd countries and {len(expected)} odd rates skipped and reported, all others stored; "
        f"{target.judge()}"
    )


def skipped(response: httpx.Response) -> list[tuple[str, str]]:
    return [(entry["name"], entry["reason"]) for entry in response.json()["skipped"]]


@pytest.mark.row("5.5 tenfold rule")
async def test_rate_that_moves_more_than_tenfold_is_skipped_unless_forced(target, figure):
    """Seen to fail with a hundredfold rule."""
    rates = payloads.rates()
    factors = {"GHS": 10.01, "NGN": 0.0999, "KES": 9.99, "TZS": 0.1001, "EUR": 1e9}
    moved = {code: rates[code] * factor for code, factor in factors.items()}
    answers = {RATES: document(payloads.er_api() | {"rates": {**rates, **moved}})}
    change = ", from {:g} to {:g}; force=true accepts it"
    expected = [
        (code, "its rate changed more than tenfold" + change.format(rates[code], moved[code]))
        for code in ("GHS", "NGN", "EUR")
    ]

    response = await target.refresh("moved", answers)
    assert (response.status_code, sorted(skipped(response))) == (200, sorted(expected))
    assert await rates_of_countries(target) == moved | dict.fromkeys(("GHS", "NGN", "EUR"))
    response = await target.refresh("moved and forced", answers, force=True)
    assert (response.status_code, skipped(response)) == (200, [])
    assert await rates_of_countries(target) == moved
    target.before = await target.settled()
    far = {code: rate * (1 if code == "USD" else 1e4) for code, rate in rates.items()}
    all_moved = document(payloads.er_api() | {"rates": far})
    reason = "answered with rates that all changed more than tenfold; force=true accepts them"
    await target.must_fail("all moved", {RATES: all_moved}, "exchange rate API", reason)
    figure(f"3 of 5 that moved skipped, 5 of 5 forced, all 163 moved: 503; {target.judge()}")


async def rates_of_countries(target: Target) -> dict[str, float | None]:
    countries = (await target.client.get("/countries")).json()
    wanted = ("GHS", "NGN", "EUR", "KES", "TZS")
    return {c["currency_code"]: c["exchange_rate"] for c in countries if c["currency_code"] in wanted}


@pytest.mark.row("5.6 time of a chain")
async def test_chain_of_silent_sources_ends_in_time(tmp_path, database_url, upstream, is_full, figure):
    """Seen to fail with 60 s for a chain."""
    timeout = 10 if is_full else 0.5
    upstream.answers["/hang"] = hang
    service = Target(tmp_path, database_url, upstream, upstream_timeout_seconds=timeout)
    async with started(service):
        pass
    chain = " ".join([upstream.url("/hang")] * 4)
    service.settings |= {"country_sources": chain, "rate_sources": chain}
    process = ServiceProcess(tmp_path, **service.settings)
    async with process, httpx.AsyncClient(base_url=process.url, timeout=60) as client:
        begun = time.monotonic()
        response = await client.post("/countries/refresh")
        seconds = time.monotonic() - begun
    bound = min(25.0, 4 * timeout)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "30")
    assert ("not asked: the chain's 25 s were used up" in response.text) == is_full
    assert bound - 0.1 <= seconds < bound + 2
    assert service.stored() == service.before
    figure(
        f"4 sources of {timeout:g} s that say nothing, for both: 503 after {seconds:.1f} s, the bound is {bound:g} s"
    )
