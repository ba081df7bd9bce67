"""A hostile upstream: each fault of a source is the promised 503 or a skipped record, and costs little.

On SQLite only, whose file can be compared as a whole: no fault of a source gets as far as a database.
"""

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from checks.support import hostile
from checks.support.hostile import MIB, Authority, Cases, named_with_a_face, without_length
from checks.support.process_figures import forget_peak, peak, resident
from tests.conftest import COUNTRIES, RATES, usual_answers
from tests.support import payloads
from tests.support.mariadb import free_port
from tests.support.service import ROOT, ServiceProcess
from tests.support.upstream import Answer, FakeUpstream, Request, body, document, hang

pytestmark = [pytest.mark.engines("sqlite"), pytest.mark.slow, pytest.mark.timeout(300)]

SOURCES: Final = {"countries": (COUNTRIES, "country API"), "rates": (RATES, "exchange rate API")}
TIMEOUT: Final = 1.5
LIMIT: Final = 4 * MIB
MOST_MEMORY: Final = 50.0
"""MB above what the service has after a refresh as usual."""
LONGEST_WAIT: Final = 5.0
"""Seconds for whoever asks for something else meanwhile, also on a busy machine."""


@dataclass
class Seen:
    """What a case did, and the worst of all so far."""

    cases: int = 0
    slowest: tuple[float, str] = (0, "")
    largest: tuple[float, str] = (0, "")
    longest_wait: tuple[float, str] = (0, "")
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cases} cases, {len(self.wrong)} wrong; slowest {self.slowest[0]:.1f} s ({self.slowest[1]}); "
            f"memory +{self.largest[0]:.0f} MB at most ({self.largest[1]}); "
            f"others waited {1000 * self.longest_wait[0]:.0f} ms at most"
        )


class Target:
    """The service as a process between the upstream and a database, refreshed once; it starts anew where it grew."""

    def __init__(self, folder: Path, database_url: str, upstream: FakeUpstream, **settings: object) -> None:
        self.folder, self.upstream = folder, upstream
        self.file = database_url.removeprefix("sqlite:///")
        chains = {"country_sources": upstream.url(COUNTRIES), "rate_sources": upstream.url(RATES)}
        self.settings = {"database_url": database_url, "upstream_timeout_seconds": TIMEOUT, **chains, **settings}
        self.seen = Seen()

    async def start(self) -> None:
        self.process = await ServiceProcess(self.folder, **self.settings).__aenter__()
        self.client = httpx.AsyncClient(base_url=self.process.url, timeout=60)
        response = await self.client.post("/countries/refresh")
        assert response.status_code == 200, response.text
        self.usual = resident(self.process.process.pid)
        self.before = await self.settled()

    async def stop(self) -> None:
        await self.client.aclose()
        await self.process.__aexit__()
        assert "Traceback" not in self.process.log.read_text(), self.process.log.read_text()

    def stored(self) -> list[str]:
        """All rows of all tables but the lease, which every try takes."""
        with contextlib.closing(sqlite3.connect(self.file)) as database:
            return [line for line in database.iterdump() if not line.startswith('INSERT INTO "lease"')]

    async def settled(self) -> list[str]:
        """What is stored once each entry of the audit trail is delivered, which happens soon after its change."""
        async with asyncio.timeout(30):
            while self._undelivered():
                await asyncio.sleep(0.05)
        return self.stored()

    def _undelivered(self) -> int:
        with contextlib.closing(sqlite3.connect(self.file)) as database:
            return int(database.execute("SELECT count(*) FROM audit WHERE delivered_at IS NULL").fetchone()[0])

    async def refresh(self, case: str, answers: dict[str, Answer], *, force: bool = False) -> httpx.Response:
        """Refresh from an upstream that answers so, and note what it took."""
        usual, pid = dict(self.upstream.answers), self.process.process.pid
        if resident(pid) > self.usual + 2:
            await self.stop()
            await self.start()
            pid = self.process.process.pid
        self.upstream.answers |= answers
        forget_peak(pid)
        asking = asyncio.create_task(self._ask_meanwhile(case))
        started = time.monotonic()
        response = await self.client.post("/countries/refresh", params={"force": "true"} if force else {})
        seconds = time.monotonic() - started
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        self.upstream.answers = usual
        seen = self.seen
        seen.cases += 1
        seen.slowest = max(seen.slowest, (seconds, case))
        seen.largest = max(seen.largest, (peak(pid) - self.usual, case))
        return response

    async def _ask_meanwhile(self, case: str) -> None:
        async with httpx.AsyncClient(base_url=self.process.url, timeout=30) as client:
            while True:
                started = time.monotonic()
                assert (await client.get("/health/live")).status_code == 200
                self.seen.longest_wait = max(self.seen.longest_wait, (time.monotonic() - started, case))
                await asyncio.sleep(0.01)

    async def must_fail(self, case: str, answers: dict[str, Answer], api: str, reason: str) -> None:
        """The promised 503, and not a row changed."""
        response = await self.refresh(case, answers)
        expected = {
            "error": "External data source unavailable",
            "details": f"Could not fetch data from {api} (127.0.0.1: {reason.format(timeout=TIMEOUT, limit=LIMIT)})",
        }
        told = response.status_code, response.headers.get("Retry-After"), response.json()
        if told != (503, "30", expected):
            self.seen.wrong.append(f"{case}: {told}")
        if self.stored() != self.before:
            self.seen.wrong.append(f"{case}: changed what is stored")

    async def must_fail_from_the_start(self, case: str, api: str, told: str) -> None:
        """The promised 503 of a service that was started for it, and no row."""
        process = ServiceProcess(self.folder, **self.settings)
        async with process, httpx.AsyncClient(base_url=process.url, timeout=60) as client:
            before, started = self.stored(), time.monotonic()
            response = await client.post("/countries/refresh")
        details = f"Could not fetch data from {api} ({told})"
        expected = {"error": "External data source unavailable", "details": details}
        if (response.status_code, response.json()) != (503, expected):
            self.seen.wrong.append(f"{case}: {response.status_code} {response.text}")
        if self.stored() != before:
            self.seen.wrong.append(f"{case}: changed what is stored")
        assert "Traceback" not in process.log.read_text()
        self.seen.cases += 1
        self.seen.slowest = max(self.seen.slowest, (time.monotonic() - started, case))

    def judge(self) -> str:
        """The figure, where all is as promised."""
        assert not self.seen.wrong, "\n".join(self.seen.wrong)
        assert self.seen.slowest[0] < TIMEOUT + 3, self.seen
        assert self.seen.largest[0] < MOST_MEMORY, self.seen
        assert self.seen.longest_wait[0] < LONGEST_WAIT, self.seen
        return str(self.seen)


@pytest.fixture
async def target(tmp_path, database_url, upstream) -> AsyncIterator[Target]:
    async with started(Target(tmp_path, database_url, upstream)) as service:
        yield service


@asynccontextmanager
async def started(target: Target) -> AsyncIterator[Target]:
    await target.start()
    try:
        yield target
    finally:
        await target.stop()


def some(cases: Cases, *, is_full: bool) -> Iterator[tuple[str, Answer, str]]:
    """All of them, or a few."""
    for case, (answer, reason) in list(cases.items())[:: 1 if is_full else 20]:
        yield case, answer, reason


@pytest.mark.parametrize(
    "source", [pytest.param(name, marks=pytest.mark.row(f"5.1 hostile HTTP, {name}")) for name in SOURCES]
)
async def test_upstream_that_breaks_http_is_503_and_changes_nothing(target, source, is_full, figure):
    """Seen to fail with the 16 MiB that an answer was allowed: the gzip bomb went on to four times the limit."""
    path, api = SOURCES[source]
    for case, answer, reason in some({**hostile.PROTOCOL, **hostile.STATUSES, **hostile.codings()}, is_full=is_full):
        await target.must_fail(case, {path: answer}, api, reason)
    figure(target.judge())


UNUSABLE: Final = "answered without a single usable country"
UNKNOWN: Final = "answered in an unknown format"


def named_all(name: str) -> Answer:
    return document([{**record, "name": {"common": name}} for record in payloads.v3_1()])


def populated_all(population: str) -> Answer:
    content = json.dumps([{**record, "population": "@"} for record in payloads.v3_1()]).replace('"@"', population)
    return body(content.encode())


def with_value(document: dict[str, Any], name: str, value: str) -> Answer:
    """The document, in which this field has a value that is JSON already."""
    return body(json.dumps({**document, name: "@"}).replace('"@"', value).encode())


async def endless_pages(_: Request, writer: asyncio.StreamWriter) -> None:
    """Page after page of REST Countries v5, each of which says that there are more."""
    await document({"data": {"objects": [{"name": ""}], "meta": {"more": True}}})(_, writer)


def country_lists() -> Cases:
    """Documents that no list of countries is, or none to believe."""
    return {
        **{
            f"the document {text!r}": (body(text), UNKNOWN)
            for text in (b"null", b"true", b"42", b'"text"', b"{}", b"NaN")
        },
        "an empty list": (body(b"[]"), UNUSABLE),
        "a list of lists": (document([[[]]] * 250), UNUSABLE),
        "an error with 200": (
            document({"success": False, "errors": [{"message": "a\ud800\x00b"}]}),
            "answered with an error: a  b",
        ),
        "a message of 1 MB": (document({"message": "x" * MIB}), f"answered with an error: {'x' * 120}"),
        "a name of 4 MB that takes 16": (without_length(named_with_a_face(LIMIT - 4096)), UNUSABLE),
        "such a name and many values": (
            without_length(named_with_a_face(LIMIT - 200_000)[:-1] + b",{}" * 40_000 + b"]"),
            UNUSABLE,
        ),
        "nameless rows": (without_length(b"[" + b"{}," * 40_000 + b"{}]"), UNUSABLE),
        "rows without people": (without_length(hostile.rows(40_000)), UNUSABLE),
        "pages without an end": (endless_pages, "timed out after 0 s"),
        "124 of 250 countries": (
            document(payloads.v3_1()[:124]),
            "answered with 124 countries while 250 are stored, which looks truncated",
        ),
        **{
            f"every name {name!r}"[:40]: (named_all(name), UNUSABLE)
            for name in ("", " ", "a\x00b", "\ud800", "\udfff\ud800", "\u0301", "x" * 201, "\ufdfa" * 200)
        },
        **{
            f"every population {number[:9]}": (populated_all(number), UNUSABLE)
            for number in (
                "NaN",
                "Infinity",
                "-Infinity",
                "1e400",
                "9" * 5000,
                "-5",
                "-0.1",
                "true",
                "null",
                '"5"',
                "[]",
                "{}",
                "10000000001",
            )
        },
    }


@pytest.mark.row("5.2 hostile documents, countries")
async def test_country_list_that_is_none_is_503_and_changes_nothing(target, is_full, figure):
    """Seen to fail without a limit on JSON values: a million rows of two bytes were read, for 100 to 400 MB."""
    for case, answer, reason in some({**hostile.documents(), **country_lists()}, is_full=is_full):
        await target.must_fail(case, {COUNTRIES: answer}, "country API", reason)
    figure(target.judge())


def quoted_all(rate: str) -> Answer:
    content = json.dumps({**payloads.er_api(), "rates": dict.fromkeys(payloads.rates(), "@")}).replace('"@"', rate)
    return body(content.encode())


def rate_lists() -> Cases:
    """Documents that no quotes are, or none to believe."""
    usual = payloads.er_api()
    face = named_with_a_face(LIMIT - 4096)[9:-18]
    cases: Cases = {
        **{
            f"the document {text!r}": (body(text), UNKNOWN)
            for text in (b"null", b"true", b"42", b'"text"', b"{}", b"[]", b"NaN")
        },
        "no rates": (document({**usual, "rates": {}}), "answered without a single usable rate"),
        "an error with 200": (
            document({"result": "error", "error-type": "quota\x00\ud800"}),
            "answered with the error 'quota\\x00\\ud800'",
        ),
        "a name of 4 MB that takes 16": (without_length(named_with_a_face(LIMIT - 4096)), UNKNOWN),
        "such a code": (
            without_length(b'{"base":"USD","rates":{' + face + b'":1}}'),
            "answered without a single usable rate",
        ),
        "40,000 codes": (
            document({"base": "USD", "rates": {f"X{n}": 1 for n in range(40_000)}}),
            "answered without a single usable rate",
        ),
        "euros": (document({**usual, "base_code": "EUR"}), "answered with rates for 'EUR' instead of USD"),
        "no base": (document({**usual, "base_code": None}), "answered with rates for 'None' instead of USD"),
        "a dollar of two dollars": (
            document(payloads.er_api(USD=2)),
            "answered with a rate for USD that is not 1",
        ),
        "rates of the future": (
            document({**usual, "time_last_update_unix": 4e9}),
            "answered with rates of 2096-10-02, which is in the future",
        ),
        "rates of 1970": (
            document({**usual, "time_last_update_unix": 0}),
            "answered with rates of 1970-01-01, which is too old",
        ),
        **{
            f"the time {number[:9]}": (
                with_value(usual, "time_last_update_unix", number),
                "answered with an invalid update time",
            )
            for number in ("NaN", "Infinity", "1e400", "9" * 5000, "1e300", '"\\ud800"', "[]")
        },
        **{
            f"every rate {number[:9]}": (quoted_all(number), "answered without a single usable rate")
            for number in (
                "NaN",
                "Infinity",
                "-Infinity",
                "1e400",
                "9" * 5000,
                "0",
                "-0.0",
                "-1",
                "1e-300",
                "1e15000",
                "true",
                "null",
                '"5"',
                "[]",
                "{}",
            )
        },
    }
    for depth in (900, 950):
        odd = "[" * depth + "]" * depth
        cases |= {
            f"a base {depth} deep": (
                with_value(usual, "base_code", odd),
                "answered with rates for 'list' instead of USD",
            ),
            f"a day {depth} deep": (
                with_value({"base": "USD", "rates": {"EUR": 1}}, "date", odd),
                "answered with 'list' instead of a date",
            ),
            f"an error {depth} deep": (
                with_value({"result": "x"}, "error-type", odd),
                "answered with the error 'list'",
            ),
            f"a time {depth} deep": (
                with_value(usual, "time_last_update_unix", odd),
                "answered with an invalid update time",
            ),
        }
    return cases


@pytest.mark.row("5.2 hostile documents, rates")
async def test_rates_that_are_none_are_503_and_change_nothing(target, is_full, figure):
    """Seen to fail with codes folded to upper case whole (+67 MB), and with a nested base shown as text (500)."""
    for case, answer, reason in some({**hostile.documents(), **rate_lists()}, is_full=is_full):
        await target.must_fail(case, {RATES: answer}, "exchange rate API", reason)
    figure(target.judge())


@pytest.mark.row("5.3 no connection, bad TLS, no name")
async def test_upstream_that_nobody_reaches_or_believes_is_503(tmp_path, database_url, upstream, is_full, figure):
    """Seen to fail with certificates unchecked: the expired one was believed."""
    ours, stranger = Authority(tmp_path, "ours"), Authority(tmp_path, "stranger")
    trusting = f"{hostile.trust([ours.file], tmp_path / 'trust')}:{ROOT}"
    certificates = {
        "expired": ours.sign("expired", days=-1),
        "of another host": ours.sign("other", host="127.0.0.2"),
        "of an unknown authority": stranger.sign("unknown"),
    }
    service = Target(tmp_path, database_url, upstream, pythonpath=trusting)
    async with AsyncExitStack() as stack:
        good = await stack.enter_async_context(hostile.over_tls(usual_answers(), *ours.sign("good")))
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
            for case, (url, told) in list(urls.items())[:: 1 if is_full else 4]:
                service.settings[setting] = url
                await service.must_fail_from_the_start(f"{case}, {source}", api, told)
            # The same authority and a certificate as it should be: what was refused was refused for its fault.
            service.settings[setting] = good.url(path)
        await service.start()
        await service.stop()
    figure(service.judge())


async def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    writer.close()


CERTIFICATES: Final = {
    "expired": "127.0.0.1: could not connect (certificate has expired)",
    "of another host": "127.0.0.1: could not connect (IP address mismatch, certificate is not valid for '127.0.0.1'.)",
    "of an unknown authority": "127.0.0.1: could not connect (unable to get local issuer certificate)",
}

ODD_COUNTRIES: Final = {
    '{"name":"","population":1}': ("(no name)", "has no usable name"),
    '{"name":"A\\u0000b","population":1}': ("(no name)", "has no usable name"),
    '{"name":"\\ud800","population":1}': ("(no name)", "has no usable name"),
    '{"name":{"common":["x"]},"population":1}': ("(no name)", "has no usable name"),
    f'{{"name":"{"x" * 1_000_000}","population":1}}': ("(no name)", "has no usable name"),
    "[[[]]]": ("(no name)", "is not an object"),
    **{
        f'{{"name":"X","population":{number}}}': ("X", "its population is not a number in range")
        for number in ("-5", "-0.1", "NaN", "Infinity", "-Infinity", "1e400", "9" * 5000, '"5"', "null", "true", "[]")
    },
    '{"name":"Ghana","population":1}': ("Ghana", "is a second record for the same country"),
    '{"name":"Other","cca2":"GH","population":1}': ("Other", "is a second record for the same country"),
}
ODD_RATES: Final = (
    "0",
    "-0.0",
    "-1",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "1e-300",
    "9" * 5000,
    '"5"',
    "null",
    "[]",
)


@pytest.mark.row("5.4 records skipped and reported")
async def test_record_that_is_no_use_is_skipped_and_all_others_are_stored(target, figure):
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
    expected = {
        *((code, reason) for code in codes),
        ("USD", "its rate is given twice"),
        ("EUR", "its rate is given twice"),
    }
    assert (response.status_code, set(skipped(response))) == (200, expected)
    rates = (await target.client.get("/rates")).json()["rates"]
    assert (rates["USD"], rates["EUR"]) == (1, 5)
    assert not set(codes) & {
        c["currency_code"] for c in (await target.client.get("/countries")).json() if c["exchange_rate"]
    }
    figure(
        f"{len(ODD_COUNTRIES)} odd countries and {len(expected)} odd rates skipped and told, all others stored; "
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
    told = ", from {:g} to {:g}; force=true accepts it"
    expected = [
        (code, "its rate changed more than tenfold" + told.format(rates[code], moved[code]))
        for code in ("GHS", "NGN", "EUR")
    ]

    response = await target.refresh("moved", answers)
    assert (response.status_code, sorted(skipped(response))) == (200, sorted(expected))
    assert await rates_of_countries(target) == {
        "GHS": None,
        "NGN": None,
        "EUR": None,
        "KES": moved["KES"],
        "TZS": moved["TZS"],
    }
    response = await target.refresh("moved and forced", answers, force=True)
    assert (response.status_code, skipped(response)) == (200, [])
    assert await rates_of_countries(target) == moved
    target.before = await target.settled()
    all_moved = document(
        payloads.er_api() | {"rates": {code: rate * (1 if code == "USD" else 1e4) for code, rate in rates.items()}}
    )
    reason = "answered with rates that all changed more than tenfold; force=true accepts them"
    await target.must_fail("all moved", {RATES: all_moved}, "exchange rate API", reason)
    figure(f"3 of 5 that moved skipped, 5 of 5 forced, all 163 moved: 503; {target.judge()}")


async def rates_of_countries(target: Target) -> dict[str, float | None]:
    countries = (await target.client.get("/countries")).json()
    wanted = ("GHS", "NGN", "EUR", "KES", "TZS")
    return {c["currency_code"]: c["exchange_rate"] for c in countries if c["currency_code"] in wanted}


@pytest.mark.row("5.6 time of a chain")
async def test_chain_of_sources_that_say_nothing_ends_in_time(tmp_path, database_url, upstream, is_full, figure):
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
