"""Repeated reads: the service compared with a bare function that sends the same bytes, and with nginx."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.base.answers import Answer, capture, decoded_body
from benchmarks.base.load import Target, Turn, compare, costs, rates
from benchmarks.base.run import Run
from benchmarks.base.servers import NGINX, Server, bare, nginx, service
from benchmarks.base.spread import ratios, spread
from benchmarks.base.tables import Report, Table

SERVICE, LOGGING, UNCACHED = "service", "service, default log", "service, cache off"
BARE, BESIDE, FILES = "bare", "bare, same imports", "nginx"


@dataclass(frozen=True)
class Case:
    """A repeated request."""

    name: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_conditional: bool = False
    """Sent with the current entity tag."""

    def target(self, server: Server) -> Target:
        """The request to one server."""
        url, pid = server.url + self.path, server.process.pid
        if not self.is_conditional:
            return Target(url, self.headers, pid)
        etag = capture(url, self.headers).header(b"etag") or '"none"'
        return Target(url, {**self.headers, "If-None-Match": etag}, pid)


LIST = Case("full list", "/countries")
CASES = (
    LIST,
    Case("one country", "/countries/ghana"),
    Case("filter and sort", "/countries?region=africa&sort=gdp_desc"),
    Case("status", "/status"),
    Case("latest rates", "/rates"),
    Case("conversion", "/convert?from=NGN&to=EUR&amount=100"),
    Case("picture", "/countries/image"),
    Case("full list, 304", "/countries", is_conditional=True),
    Case("full list, br", "/countries", {"Accept-Encoding": "br"}),
    Case("full list, gzip", "/countries", {"Accept-Encoding": "gzip"}),
)


COLUMNS = (
    *("request", "bare, req/s", "service, req/s", "service / bare", "with default log"),
    *("bare with the same imports", "cache off", "nginx"),
)
COST_COLUMNS = (
    *("request", "bare, µs", "service, µs", "bare / service", "bare / with default log"),
    "bare / bare with the same imports",
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
            UNCACHED: stack.enter_context(service(run.new_folder(), database_url=url, cache_max_bytes=0)),
        }


def _measure_engine(run: Run, engine: str, services: Mapping[str, Server], report: Report) -> None:
    rows, cost_rows = [], []
    ours = [case.target(services[SERVICE]) for case in CASES]
    captured = [capture(target.url, target.headers) for target in ours]
    # The bare function finds its response by the path alone; reading headers would slow it down.
    paths = [f"/{number}{case.path}" for number, case in enumerate(CASES)]
    with (
        bare(run.new_folder(), dict(zip(paths, captured, strict=True))) as bare_server,
        bare(run.new_folder(), dict(zip(paths, captured, strict=True)), beside=True) as beside_server,
        _files(run.new_folder(), captured[0]) as files_url,
    ):
        for case, path, target, expected in zip(CASES, paths, ours, captured, strict=True):
            run.say(f"reads: {engine}, {case.name}")
            targets = {BARE: Target(bare_server.url + path, target.headers, bare_server.process.pid), SERVICE: target}
            targets[BESIDE] = Target(beside_server.url + path, target.headers, beside_server.process.pid)
            targets |= {name: case.target(server) for name, server in services.items() if name != SERVICE}
            if case is LIST and files_url:
                targets[FILES] = Target(files_url + case.path)
            left_out = _check(case, targets, expected)
            report.notes += [f"{engine}, {case.name}: {reason}" for reason in left_out.values()]
            kept = {name: target for name, target in targets.items() if name not in left_out}
            measured = compare(kept, rounds=run.plan.rounds, seconds=run.plan.seconds)
            rows.append(_row(case, measured))
            cost_rows.append(_cost_row(case, measured))
    report.tables.append(Table(f"Reads on {engine}, as ratios to the bare function", COLUMNS, rows))
    title = f"The same turns on {engine}: processor time of the server, bare function / contender"
    report.tables.append(Table(title, COST_COLUMNS, cost_rows))


@contextmanager
def _files(folder: Path, answer: Answer) -> Iterator[str | None]:
    if NGINX is None:
        yield None
        return
    with nginx(folder, answer.body) as server:
        yield server.url


def _check(case: Case, targets: Mapping[str, Target], expected: Answer) -> dict[str, str]:
    """Check that all contenders send the same response.

    Returns:
        Contenders to leave out, and why: without its cache the service has no entity tags or codings.

    Raises:
        WrongAnswer: Any other difference.
    """
    if expected.status != (304 if case.is_conditional else 200):
        raise WrongAnswer(f"{case.name}: the service answered {expected.status}")
    left_out = {}
    for name, target in targets.items():
        answer = capture(target.url, target.headers)
        if name == BARE and answer != expected:
            raise WrongAnswer(f"{case.name}: the bare function sends other bytes than the service")
        if (answer.status, decoded_body(answer)) != (expected.status, decoded_body(expected)):
            if name != UNCACHED:
                raise WrongAnswer(f"{case.name}: {name} answered {answer.status} with another body")
            left_out[name] = f"with the cache off the service answered {answer.status}, so it is left out"
    return left_out


def _row(case: Case, measured: Mapping[str, list[Turn]]) -> tuple[str, ...]:
    def ratio(name: str) -> str:
        return ratios(rates(measured[name]), rates(measured[BARE])).text() if name in measured else "-"

    absolute = (f"{spread(rates(measured[name])).median:,.0f}" for name in (BARE, SERVICE))
    return (case.name, *absolute, ratio(SERVICE), ratio(LOGGING), ratio(BESIDE), ratio(UNCACHED), ratio(FILES))


def _cost_row(case: Case, measured: Mapping[str, list[Turn]]) -> tuple[str, ...]:
    """Processor time varies less than throughput if others use the machine."""

    def share(name: str) -> str:
        return ratios(costs(measured[BARE]), costs(measured[name])).text()

    absolute = (f"{spread(costs(measured[name])).median:.1f}" for name in (BARE, SERVICE))
    return (case.name, *absolute, share(SERVICE), share(LOGGING), share(BESIDE))
