"""Pagination: totals and links to neighbouring pages, in headers."""

from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import Request
from pydantic import Field

from app.core.http.numbers import NO_UNDERSCORES

MAX_LIMIT: Final = 1000

LimitField = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="Maximum number of entries."), NO_UNDERSCORES]
OffsetField = Annotated[int, Field(ge=0, le=1_000_000_000, description="Number of entries to skip."), NO_UNDERSCORES]
"""Fields of a list's filters."""

TOTAL_HEADER: Final = {
    "X-Total-Count": {"description": "Number of entries on all pages.", "schema": {"type": "integer"}},
}
PAGE_HEADERS: Final = {
    **TOTAL_HEADER,
    "Link": {
        "description": "First, previous, next and last page, if paged; and `license`: where the data come from.",
        "schema": {"type": "string"},
    },
}
"""OpenAPI headers of a list."""


def page_headers(request: Request, total: int, limit: int | None, offset: int) -> dict[str, str]:
    """The total number of entries and, if a page was asked for, RFC 8288 links to the pages around it.

    The links keep the request's other parameters, and are relative so that they work behind any proxy.
    """
    headers = {"X-Total-Count": str(total)}
    if limit is None and offset == 0:
        return headers
    size = limit or min(max(total, 1), MAX_LIMIT)
    last = max(0, (total - 1) // size * size)
    starts = {"first": 0, "last": last}
    if offset > 0:
        starts["prev"] = min(max(0, offset - size), last)
    if offset + size < total:
        starts["next"] = offset + size
    others = {name: value for name, value in request.query_params.items() if name not in ("offset", "limit")}
    links = (
        f'<{quote(request.url.path)}?{urlencode({**others, "limit": size, "offset": start})}>; rel="{rel}"'
        for rel, start in starts.items()
    )
    return {**headers, "Link": ", ".join(links)}
