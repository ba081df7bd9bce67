"""Pages of lists: totals and neighbours travel in headers."""

from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import Request
from pydantic import Field

MAX_LIMIT: Final = 1000

LimitField = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="At most so many.")]
OffsetField = Annotated[int, Field(ge=0, le=1_000_000_000, description="Leave out so many at the start.")]
"""Fields of a list's filters."""

TOTAL_HEADER: Final = {
    "X-Total-Count": {"description": "Entries on all pages together.", "schema": {"type": "integer"}},
}
PAGE_HEADERS: Final = {
    **TOTAL_HEADER,
    "Link": {"description": "First, previous, next and last page, when paged.", "schema": {"type": "string"}},
}
"""For OpenAPI."""


def page_headers(request: Request, total: int, *, limit: int | None, offset: int) -> dict[str, str]:
    """The total, and RFC 8288 links to the pages around this one; relative, so that they are right behind any proxy.

    Args:
        request: Its other parameters are kept in the links.
        total: Entries on all pages together.
        limit: Size of a page; None where the client named none.
        offset: Entries before this page.
    """
    size = limit or min(max(total, 1), MAX_LIMIT)
    last = max(0, (total - 1) // size * size)
    pages = {"first": 0, "last": last}
    if offset > 0:
        pages["prev"] = min(max(0, offset - size), last)
    if offset + size < total:
        pages["next"] = offset + size
    given = {name: value for name, value in request.query_params.items() if name not in ("offset", "limit")}
    links = (
        f'<{quote(request.url.path)}?{urlencode({**given, "limit": size, "offset": start})}>; rel="{rel}"'
        for rel, start in pages.items()
    )
    return {"X-Total-Count": str(total), "Link": ", ".join(links)}
