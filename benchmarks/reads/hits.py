"""Repeated reads: the service compared with a bare function that sends the same bytes, and with nginx."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from benchmarks.base.answers import Answer, capture, decoded_body
from benchmarks.base.load import Target, Turn, compare, costs, rates
from benchmarks.base.run import Run
from benchmarks.base.servers import NGINX, Server, bare, nginx, plain_uvicorn, service
from benchmarks.base.spread import Spread, ratios, spread
from benchmarks.base.tables import Report, Table

SERVICE, LOGGING, PLAIN = "service", "service, default log", "service, plain uvicorn"
BARE, FILES = "bare", "nginx"
WITH_ID: Final = ", another id each time"
"""Of a contender that gets an ``X-Request-ID`` of its own with each request, as behind a proxy."""
IDS: Final = Path(__file__).with_name("request_ids.lua")


@dataclass(frozen=True)
class Case:
    """A repeated request."""

    name: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_conditional: bool = False
    """Sent with the current entity tag."""
    promised: float | None = None
    """The least ratio to the bare function; None promises nothing."""

    def target(self, server: Server) -> Target:
        """The request to one server."""
        url, pid = server.url + self.path, server.process.pid
        if not self.is_conditional:
            return Target(url, self.headers, pid)
        etag = capture(url, self.headers).header(b"etag") or '"none"'
        return Target(url, {**self.headers, "If-None-Match": etag}, pid)


LIST = Case("full list", "/countries", promised=1.5)
CASES = (
    LIST,
    Case("one country", "/countries/ghana", promised=2.0),
    Case("filter and sort", "/countries?region=africa&sort=gdp_desc"),
    Case("status", "/status", promised=2.0),
    Case("latest rates", "/rates"),
    Case("conversion", "/convert?from=NGN&to=EUR&amount=100"),
    Case("picture", "/countries/image"),
    Case("full list, 304", "/countries", is_conditional=True, promised=2.0),
    Case("full list, br", "/countries", {"Accept-Encoding": "br"}),
    Case("full list, gzip", "/countries", {"Accept-Encoding": "gzip"}),
)
PROMISED_LOGGING, PROMISED_WITH_ID, PROMISED_PLAIN, PROMISED_TO_FILES = 1.3, 1.0, 0.45, 0.8
"""The least ratios to the bare function, and of the full list to nginx."""

COLUMNS = (
    *("request", "bare, req/s", "service, req/s", "service / bare", "with default log"),
    *("another id each time", "plain uvicorn", "service / nginx"),
)
COST_COLUMNS = (
    "request",
    "bare, µs",
    "service, µs",
    "bare / service",
    "bare / with default log",
    "bare / plain uvicorn",
)


class WrongAnswer(Exception):
    """A contender sends another response than the service."""


def measure(run: Run) -> Report:
    """Compare all contenders on all requests, engine by engine."""
    report = Report()
    if NGINX is None:
        report.notes.append("nginx is not installed and is left out (on Debian: apt-get install nginx-light)")
    for engine in run.plan.engines:
        with _services(run, engine) as services:
            _measure_engine(run, engine, services, report)
    return report


@contextmanager
def _services(run: Run, engine: str) -> Iterator[dict[str, Server]]:
    """The service in its three settings, on one database."""
    url = run.databases.new(engine)
    with ExitStack() as stack:
        yield {
            SERVICE: stack.enter_context(service(run.new_folder(), database_url=url)),
            LOGGING: stack.enter_context(service(run.new_folder(), database_url=url, log_requests="all")),
            PLAIN: stack.enter_context(plain_uvicorn(run.new_folder(), database_url=url)),
        }


def _measure_engine(run: Run, engine: str, services: Mapping[str, Server], report: Report) -> None:
    rows, cost_rows = [], []
    ours = [case.target(services[SERVICE]) for case in CASES]
    captured = [capture(target.url, target.headers) for target in ours]
    # The bare function finds its response by the path alone; reading headers would slow it down.
    paths = [f"/{number}{case.path}" for number, case in enumerate(CASES)]
    bare_answers = {path: _with_two_headers(answer) for path, answer in zip(paths, captured, strict=True)}
    with (
        bare(run.new_folder(), bare_answers) as bare_server,
        _files(run.new_folder(), captured[0]) as files_url,
    ):
        for case, path, target, expected in zip(CASES, paths, ours, captured, strict=True):
            run.say(f"reads: {engine}, {case.name}")
            targets = {BARE: Target(bare_server.url + path, target.headers, bare_server.process.pid), SERVICE: target}
            targets |= {name: case.target(server) for name, server in services.items() if name != SERVICE}
            targets |= {name + WITH_ID: replace(targets[name], script=IDS) for name in (BARE, SERVICE)}
            if case is LIST and files_url:
                targets[FILES] = Target(files_url + case.path)
            _check(case, targets, expected)
            measured = compare(targets, rounds=run.plan.rounds, seconds=run.plan.seconds)
            found = _ratios(measured)
            report.failures += [f"{engine}, {case.name}: {problem}" for problem in problems(case, found)]
            rows.append(_row(case, measured, found))
            cost_rows.append(_cost_row(case, measured))
    report.tables.append(Table(f"Reads on {engine}, as ratios to the bare function", COLUMNS, rows))
    title = f"The same turns on {engine}: processor time of the server, bare function / contender"
    report.tables.append(Table(title, COST_COLUMNS, cost_rows))


def _with_two_headers(answer: Answer) -> Answer:
    """The least that such an answer needs, whatever else the service adds to its own."""
    kept = tuple(
        item for item in answer.headers if item[0] in (b"content-type", b"content-length", b"content-encoding")
    )
    if answer.status == 304:
        kept = tuple(item for item in answer.headers if item[0] in (b"etag", b"cache-control"))
    return replace(answer, headers=kept)


@contextmanager
def _files(folder: Path, answer: Answer) -> Iterator[str | None]:
    if NGINX is None:
        yield None
        return
    with nginx(folder, answer.body) as server:
        yield server.url


def _check(case: Case, targets: Mapping[str, Target], expected: Answer) -> None:
    """Raise WrongAnswer if a contender sends another response than the service."""
    if expected.status != (304 if case.is_conditional else 200):
        raise WrongAnswer(f"{case.name}: the service answered {expected.status}")
    for name, target in targets.items():
        answer = capture(target.url, target.headers)
        if (answer.status, decoded_body(answer)) != (expected.status, decoded_body(expected)):
            raise WrongAnswer(f"{case.name}: {name} answered {answer.status} with another body")


def _ratios(measured: Mapping[str, list[Turn]]) -> dict[str, Spread]:
    """Of each contender to its bare function, and of the service to nginx."""
    of_bare, ours = rates(measured[BARE]), rates(measured[SERVICE])
    found = {name: ratios(rates(measured[name]), of_bare) for name in (SERVICE, LOGGING, PLAIN)}
    found[WITH_ID] = ratios(rates(measured[SERVICE + WITH_ID]), rates(measured[BARE + WITH_ID]))
    if FILES in measured:
        found[FILES] = ratios(ours, rates(measured[FILES]))
    return found


def problems(case: Case, found: Mapping[str, Spread]) -> list[str]:
    """The promises that the medians of one request do not keep."""
    promises = {PLAIN: PROMISED_PLAIN, FILES: PROMISED_TO_FILES}
    if case.promised is not None:
        promises |= {SERVICE: case.promised, LOGGING: PROMISED_LOGGING, WITH_ID: PROMISED_WITH_ID}
    return [
        f"{name.removeprefix(', ')}: {found[name].median:.2f}, not {least}"
        for name, least in promises.items()
        if name in found and found[name].median < least
    ]


def _row(case: Case, measured: Mapping[str, list[Turn]], found: Mapping[str, Spread]) -> tuple[str, ...]:
    absolute = (f"{spread(rates(measured[name])).median:,.0f}" for name in (BARE, SERVICE))
    shown = (found[name].text() if name in found else "-" for name in (SERVICE, LOGGING, WITH_ID, PLAIN, FILES))
    return (case.name, *absolute, *shown)


def _cost_row(case: Case, measured: Mapping[str, list[Turn]]) -> tuple[str, ...]:
    """Processor time varies less than throughput if others use the machine."""

    def share(name: str) -> str:
        return ratios(costs(measured[BARE]), costs(measured[name])).text()

    absolute = (f"{spread(costs(measured[name])).median:.1f}" for name in (BARE, SERVICE))
    return (case.name, *absolute, share(SERVICE), share(LOGGING), share(PLAIN))
