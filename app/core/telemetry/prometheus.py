"""What is counted, in the words of Prometheus; made whenever somebody looks."""

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
    """Asks the connection pool for its figures."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A gauge for each figure."""
        figures = self._pool.figures()
        for name, field in PoolFigures.model_fields.items():
            yield GaugeMetricFamily(f"countries_db_pool_{name}", str(field.description), value=getattr(figures, name))


class CountsCollector(Collector):
    """Reads what the application has counted since it was made."""

    def __init__(self, counts: Counts, *, clock: Callable[[], datetime], workers: int) -> None:
        self._counts = counts
        self._clock = clock
        self._workers = workers

    def collect(self) -> Iterator[Metric]:
        """Everything but pool and process."""
        yield from self._requests()
        yield from self._refusals()
        yield from self._refreshes()
        if self._counts.data is not None:
            yield from _about_data(self._counts.data, self._clock())
        yield from self._about_service()

    def _requests(self) -> Iterator[Metric]:
        total = CounterMetricFamily(
            "countries_http_requests", "Answers by method, route and status.", labels=("method", "route", "status")
        )
        together: dict[tuple[str, str], Durations] = {}
        for (method, route, status), durations in self._counts.requests.durations.items():
            total.add_metric((method, route, str(status)), sum(durations.buckets))
            together.setdefault((method, route), Durations(REQUEST_BOUNDS)).include(durations)
        yield total
        histogram = HistogramMetricFamily(
            "countries_http_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            labels=("method", "route"),
        )
        for labels, durations in together.items():
            histogram.add_metric(labels, *_buckets_and_sum(durations))
        yield histogram
        yield _counters(
            "countries_cache_reads", "Reads of what memory may answer, by result.", "result", self._counts.cache
        )

    def _refusals(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counters("countries_rate_limited", "Requests over a limit, by its name.", "limit", counts.limited)
        yield CounterMetricFamily(
            "countries_overloaded", "Requests refused because too much was under way.", value=counts.overloaded
        )

    def _refreshes(self) -> Iterator[Metric]:
        counts = self._counts
        yield _counters("countries_refreshes", "Refreshes of this process, by result.", "result", counts.refreshes)
        histogram = HistogramMetricFamily(
            "countries_refresh_duration_seconds", "Of refreshes that were stored.", labels=()
        )
        histogram.add_metric((), *_buckets_and_sum(counts.refresh_durations))
        yield histogram
        sources = CounterMetricFamily(
            "countries_source_answers", "Answers of sources, usable or failed.", labels=("data", "source", "result")
        )
        for labels, number in counts.sources.items():
            sources.add_metric(labels, number)
        yield sources

    def _about_service(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "countries_workers", "Processes behind this address (WEB_CONCURRENCY); one answers.", value=self._workers
        )
        build = GaugeMetricFamily("countries_build_info", "Versions.", labels=("version", "python"))
        build.add_metric((__version__, platform.python_version()), 1)
        yield build


def _about_data(data: DataFigures, now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily("countries_stored", "Countries that are stored.", value=data.countries)
    age = (now - data.refreshed_at).total_seconds()
    yield GaugeMetricFamily("countries_data_age_seconds", "Time since the last refresh that was stored.", value=age)
    rates_age = (now - datetime.combine(data.rates_day, time(), UTC)).total_seconds()
    yield GaugeMetricFamily(
        "countries_rates_age_seconds", "Time since the beginning of the day of the rates.", value=rates_age
    )
    sources = GaugeMetricFamily(
        "countries_data_source_info", "Where the stored data are from.", labels=("data", "source")
    )
    sources.add_metric(("countries", data.country_source), 1)
    sources.add_metric(("rates", data.rate_source), 1)
    yield sources


def _counters(name: str, about: str, label: str, numbers: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, about, labels=(label,))
    for value, number in numbers.items():
        family.add_metric((value,), number)
    return family


def _buckets_and_sum(durations: Durations) -> tuple[list[tuple[str, float]], float]:
    """Prometheus' buckets count all that took no longer than their bound."""
    bounds = [*map(floatToGoString, durations.bounds), "+Inf"]
    return list(zip(bounds, accumulate(durations.buckets), strict=True)), durations.seconds


def create_registry(pool: Pool, counts: Counts, *, clock: Callable[[], datetime], workers: int) -> CollectorRegistry:
    """All figures of one application.

    Args:
        pool: Its database connections.
        counts: What it counts.
        clock: The time in UTC, for the age of the data.
        workers: How many processes serve; the figures are of one.
    """
    registry = CollectorRegistry()
    registry.register(PoolCollector(pool))
    registry.register(CountsCollector(counts, clock=clock, workers=workers))
    ProcessCollector(registry=registry)
    return registry
