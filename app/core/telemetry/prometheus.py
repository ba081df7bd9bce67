"""Prometheus metrics, collected from the counters on request."""

import platform
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from app import __version__
from app.core.db.pool import Pool, PoolFigures
from app.core.telemetry.counts import REQUEST_BOUNDS, Counts, DataFigures, Durations


class PoolCollector(Collector):
    """Collects the state of the connection pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a gauge for each field of ``PoolFigures``."""
        figures = self._pool.figures()
        for name, field in PoolFigures.model_fields.items():
            yield GaugeMetricFamily(f"countries_db_pool_{name}", str(field.description), value=getattr(figures, name))


class CountsCollector(Collector):
    """Collects what the application has counted."""

    def __init__(self, counts: Counts, *, clock: Callable[[], datetime], workers: int) -> None:
        self._counts = counts
        self._clock = clock
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics except those of the pool and the process."""
        yield from self._requests()
        yield from self._refusals()
        yield from self._refreshes()
        if self._counts.data is not None:
            yield from _data_metrics(self._counts.data, self._clock())
        yield from self._service_info()

    def _requests(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            "countries_http_requests", "Responses by method, route and status.", labels=("method", "route", "status")
        )
        together: dict[tuple[str, str], Durations] = {}
        for (method, route, status), durations in self._counts.requests.durations.items():
            total.add_metric((method, route, str(status)), sum(durations.buckets))
            together.setdefault((method, route), Durations(REQUEST_BOUNDS)).include(durations)
        yield total
        histogram = HistogramMetricFamily(
            "countries_http_request_duration_seconds",
            "Time from a request's headers to the end of its response.",
            labels=("method", "route"),
        )
        for labels, durations in together.items():
            histogram.add_metric(labels, *_buckets_and_sum(durations))
        yield histogram
        yield _counters("countries_cache_reads", "Reads of cacheable routes by result.", "result", self._counts.cache)

    def _refusals(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counters("countries_rate_limited", "Requests refused by rate limit, by limit.", "limit", counts.limited)
        yield CounterMetricFamily(
            "countries_overloaded", "Requests refused because of overload.", value=counts.overloaded
        )

    def _refreshes(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counters("countries_refreshes", "Refreshes run by this process, by result.", "result", counts.refreshes)
        histogram = HistogramMetricFamily(
            "countries_refresh_duration_seconds", "Duration of successful refreshes.", labels=()
        )
        histogram.add_metric((), *_buckets_and_sum(counts.refresh_durations))
        yield histogram
        sources = CounterMetricFamily(
            "countries_source_answers", "Responses of data sources by result.", labels=("data", "source", "result")
        )
        for labels, number in counts.sources.items():
            sources.add_metric(labels, number)
        yield sources

    def _service_info(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "countries_workers",
            "Worker processes at this address (WEB_CONCURRENCY); metrics are of one.",
            value=self._workers,
        )
        build = GaugeMetricFamily(
            "countries_build_info", "Versions of the service and of Python.", labels=("version", "python")
        )
        build.add_metric((__version__, platform.python_version()), 1)
        yield build


def _data_metrics(data: DataFigures, now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily("countries_stored", "Number of stored countries.", value=data.countries)
    age = (now - data.refreshed_at).total_seconds()
    yield GaugeMetricFamily("countries_data_age_seconds", "Time since the last successful refresh.", value=age)
    rates_age = (now - datetime.combine(data.rates_day, time(), UTC)).total_seconds()
    yield GaugeMetricFamily(
        "countries_rates_age_seconds", "Time since the start of the day of the rates.", value=rates_age
    )
    sources = GaugeMetricFamily("countries_data_source_info", "Sources of the stored data.", labels=("data", "source"))
    sources.add_metric(("countries", data.country_source), 1)
    sources.add_metric(("rates", data.rate_source), 1)
    yield sources


def _counters(name: str, description: str, label: str, numbers: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, description, labels=(label,))
    for value, number in numbers.items():
        family.add_metric((value,), number)
    return family


def _buckets_and_sum(durations: Durations) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets, as Prometheus expects them, and the sum."""
    bounds = [*map(floatToGoString, durations.bounds), "+Inf"]
    return list(zip(bounds, accumulate(durations.buckets), strict=True)), durations.seconds


def create_registry(pool: Pool, counts: Counts, *, clock: Callable[[], datetime], workers: int) -> CollectorRegistry:
    """Create the registry of one application's metrics.

    Args:
        pool: Its connection pool.
        counts: Its counters.
        clock: Returns the time in UTC, for the age of the data.
        workers: Number of worker processes; the metrics cover one.
    """
    registry = CollectorRegistry()
    registry.register(PoolCollector(pool))
    registry.register(CountsCollector(counts, clock=clock, workers=workers))
    ProcessCollector(registry=registry)
    return registry
