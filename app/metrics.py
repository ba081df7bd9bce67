"""Figures for Prometheus: one registry for each application, and the route that shows it."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from app.access import Rule, access
from app.errors import documented
from app.pool import Pool, PoolFigures

router = APIRouter(tags=["service"])


class PoolCollector(Collector):
    """Asks the connection pool for its figures whenever somebody looks."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """A gauge for each figure."""
        figures = self._pool.figures()
        for name, field in PoolFigures.model_fields.items():
            yield GaugeMetricFamily(f"countries_db_pool_{name}", str(field.description), value=getattr(figures, name))


@contextmanager
def pool_collected(registry: CollectorRegistry, pool: Pool) -> Iterator[None]:
    """Have a registry show the pool's figures for the length of the block."""
    collector = PoolCollector(pool)
    registry.register(collector)
    try:
        yield
    finally:
        # An application may be started again, with another pool.
        registry.unregister(collector)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Prometheus text format 0.0.4.",
        },
        **documented(),
    },
    openapi_extra=access(Rule.EVERYONE),
)
async def get_metrics(request: Request) -> Response:
    """The connection pool of the process that answers. Never touches the database."""
    registry: CollectorRegistry = request.state.metrics
    # The version of the format that every Prometheus reads.
    headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
    return Response(generate_latest(registry), headers=headers)
