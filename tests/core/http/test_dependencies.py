"""Dependencies of routes."""

import pytest
from fastapi.routing import APIRoute

from app.core.http.dependencies import _snapshot
from app.countries import router as countries
from app.rates import router as rates
from app.service import router as service

ROUTES = [route for part in (countries, rates, service) for route in part.router.routes if isinstance(route, APIRoute)]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_route_with_a_snapshot_documents_304_which_lets_the_cache_keep_it(route: APIRoute):
    takes_snapshot = any(dependency.call is _snapshot for dependency in route.dependant.dependencies)

    assert 304 in route.responses or not takes_snapshot
    assert takes_snapshot or 304 not in route.responses or route.name in ("get_series", "get_root")
