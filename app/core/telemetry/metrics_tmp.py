"""Figures for Prometheus: one registry for each application, and the route that shows it."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.core.http.access import Rule, access
from app.core.http.errors import documented

router = APIRouter(tags=["service"])


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
