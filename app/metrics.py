"""Figures for Prometheus: one registry for each application, and the route that shows it."""

from collections.abc import Callable
from datetime import datetime

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.access import Rule, access
from app.collectors import CountsCollector, PoolCollector
from app.core.errors import documented
from app.counts import Counts
from app.pool import Pool

router = APIRouter(tags=["service"])


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
    """Requests, refreshes, sources, cache, pool, processor and memory of the process that answers.

    Never touches the database.
    """
    registry: CollectorRegistry = request.state.metrics
    # The version of the format that every Prometheus reads.
    headers = {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"}
    return Response(generate_latest(registry), headers=headers)
