"""Prometheus metrics, collected from the counters on request."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app import __version__
from app.core.db.pool import Pool, PoolFigures
from app.core.telemetry.counts import REQUEST_BOUNDS, Counts, DataFigures, Durations


@dataclass(eq=False)
class _ServiceCollector(Collector):
    """Collects the state of the connection pool and what the application has counted."""

    pool: Pool
    counts: Counts
    clock: Callable[[], datetime]
    workers: int

    def collect(self) -> Iterator[Metric]:
        counts, figures = self.counts, self.pool.figures()
        for name, field in PoolFigures.model_fields.items():
            yield GaugeMetricFamily(f"countries_db_pool_{name}", str(field.description), value=getattr(figures, name))
        yield from _requests(counts.requests)
        yield _counters("cache_reads", "Reads of cacheable routes by result.", ["result"], counts.cache)
        yield _counters("rate_limited", "Requests refused by rate limit, by limit.", ["limit"], counts.limited)
        description = "Requests refused because of overload."
        yield CounterMetricFamily("countries_overloaded", description, value=counts.overloaded)
        yield _counters("refreshes", "Refreshes run by this process, by result.", ["result"], counts.refreshes)
        description = "Duration of successful refreshes."
        yield _histogram("refresh_duration_seconds", description, [], {(): counts.refresh_durations})
        labels = ["data", "source", "result"]
        yield _counters("source_answers", "Responses of data sources by result.", labels, counts.sources)
        if counts.data is not None:
            yield from _data_metrics(counts.data, self.clock())
        description = "Worker processes at this address (WEB_CONCURRENCY); metrics are of one."
        yield GaugeMetricFamily("countries_workers", description, value=self.workers)
        description, labels = "Versions of the service and of Python.", ["version", "python"]
        build = GaugeMetricFamily("countries_build_info", description, labels=labels)
        build.add_metric((__version__, platform.python_version()), 1)
        yield build


def _requests(durations: Mapping[tuple[str, str, int], Durations]) -> Iterator[Metric]:
    numbers: dict[tuple[str, str, str], int] = {}
    of_routes: dict[tuple[str, ...], Durations] = {}
    for (method, route, status), each in durations.items():
        numbers[method, route, str(status)] = sum(each.buckets)
        of_routes.setdefault((method, route), Durations(REQUEST_BOUNDS)).include(each)
    labels = ["method", "route", "status"]
    yield _counters("http_requests", "Responses by method, route and status.", labels, numbers)
    description = "Time from a request's headers to the end of its response."
    yield _histogram("http_request_duration_seconds", description, labels[:2], of_routes)


def _data_metrics(data: DataFigures, now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily("countries_stored", "Number of stored countries.", value=data.total_countries)
    age = max(0.0, (now - data.refreshed_at).total_seconds())  # the clock may have been put back
    yield GaugeMetricFamily("countries_data_age_seconds", "Time since the last successful refresh.", value=age)
    age = max(0.0, (now - datetime.combine(data.rates_date, time(), UTC)).total_seconds())
    yield GaugeMetricFamily("countries_rates_age_seconds", "Time since the start of the day of the rates.", value=age)
    sources = GaugeMetricFamily("countries_data_source_info", "Sources of the stored data.", labels=("data", "source"))
    sources.add_metric(("countries", data.country_source), 1)
    sources.add_metric(("rates", data.rate_source), 1)
    yield sources


def _counters(
    name: str, description: str, labels: Sequence[str], numbers: Mapping[str, int] | Mapping[tuple[str, str, str], int]
) -> Metric:
    """A counter for each key, which has the values of the labels."""
    family = CounterMetricFamily(f"countries_{name}", description, labels=labels)
    for key, number in numbers.items():
        family.add_metric((key,) if isinstance(key, str) else key, number)
    return family


def _histogram(
    name: str, description: str, labels: Sequence[str], durations: Mapping[tuple[str, ...], Durations]
) -> Metric:
    """A histogram for each key, with cumulative buckets as Prometheus expects them."""
    family = HistogramMetricFamily(f"countries_{name}", description, labels=labels)
    for key, each in durations.items():
        bounds = [*map(floatToGoString, each.bounds), "+Inf"]
        family.add_metric(key, list(zip(bounds, accumulate(each.buckets), strict=True)), each.seconds)
    return family


def write_metrics(pool: Pool, counts: Counts, *, clock: Callable[[], datetime], workers: int) -> bytes:
    """The metrics of one application in Prometheus's text format 0.0.4, which every Prometheus reads.

    ``clock`` returns the time in UTC, for the age of the data. ``workers`` is the number of worker processes; the
    metrics cover one.
    """
    registry = CollectorRegistry()
    registry.register(_ServiceCollector(pool, counts, clock, workers))
    ProcessCollector(registry=registry)
    return generate_latest(registry)
