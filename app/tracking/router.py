"""HTTP routes of transfers and documents; the API contract prescribes their paths."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from app.core.http.access import KeyScope, Rule, access
from app.core.http.dependencies import DatabaseDep
from app.core.http.errors import documented
from app.core.http.paging import PAGE_HEADERS, page_headers
from app.tracking import schemas
from app.tracking.crud import Tracking
from app.tracking.models import State
from app.tracking.stream import store_stream

router = APIRouter(prefix="/tracking", tags=["tracking"])


async def get_tracking(database: DatabaseDep) -> Tracking:
    """The store of transfers and documents; tests replace it."""
    return Tracking(database)


TrackingDep = Annotated[Tracking, Depends(get_tracking)]
UbidParam = Annotated[schemas.Ubid, Path(examples=["0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"])]
StateParam = Annotated[State, Path(description="New state; only forward: INIT, SENT, DONE.")]

_LINES: Final = {
    "schema": {"type": "string", "description": "One document per line, each at most 128 KiB."},
    "example": '{"SMScount":1,"uniqueId":"A000000001","data":{"to":"+233201234567"}}\n',
}
_NDJSON: Final = {"requestBody": {"required": True, "content": {"application/x-ndjson": _LINES}}}


@router.post(
    "/sms_transfers",
    status_code=201,
    summary="Store a transfer",
    description="An existing transfer is reset: state INIT, fallbackCount 0, `when` now. Its documents are kept.",
    responses=documented(),
    openapi_extra=access(Rule.EDITOR, scope=KeyScope.TRACKING),
)
async def put_transfer(tracking: TrackingDep, body: schemas.TransferCreate) -> schemas.TransferPublic:
    return await tracking.put_transfer(body)


@router.get(
    "/sms_transfers",
    summary="List transfers",
    description="A bare array, newest first.",
    responses={200: {"headers": PAGE_HEADERS}, **documented(503)},
    openapi_extra=access(Rule.EDITOR),
)
async def list_transfers(
    request: Request, tracking: TrackingDep, filters: Annotated[schemas.TransferFilters, Query()], response: Response
) -> list[schemas.TransferPublic]:
    transfers, total = await tracking.list_transfers(filters)
    response.headers.update(page_headers(request, total, filters.limit, filters.offset))
    return transfers


@router.get(
    "/sms_transfers/{ubid}",
    summary="Get a transfer and the number of its documents by state",
    responses=documented(404, 503),
    openapi_extra=access(Rule.EDITOR),
)
async def get_transfer(tracking: TrackingDep, ubid: UbidParam) -> schemas.TransferDetails:
    return await tracking.get_transfer(ubid)


@router.put(
    "/sms_transfers/{ubid}/{state}",
    summary="Move a transfer forward",
    description="Setting the current state again does nothing; going back is refused.",
    responses=documented(404, 409),
    openapi_extra=access(Rule.EDITOR, scope=KeyScope.TRACKING),
)
async def advance_transfer(tracking: TrackingDep, ubid: UbidParam, state: StateParam) -> schemas.TransferPublic:
    return await tracking.advance_transfer(ubid, state)


@router.delete(
    "/sms_transfers/{ubid}",
    status_code=204,
    summary="Delete a transfer with all its documents",
    responses=documented(404),
    openapi_extra=access(Rule.EDITOR, scope=KeyScope.TRACKING),
)
async def delete_transfer(tracking: TrackingDep, ubid: UbidParam) -> None:
    await tracking.delete_transfer(ubid)


@router.post(
    "/sms_documents",
    status_code=201,
    summary="Store documents of a transfer",
    description="1 to 5000 in one transaction. An existing document is reset: state INIT, `when` now. If several have "
    "the same `uniqueId`, the last one is stored.",
    responses=documented(409),
    openapi_extra={**access(Rule.EDITOR, scope=KeyScope.TRACKING), "x-large-body": True},
)
async def put_documents(tracking: TrackingDep, batch: schemas.DocumentBatch) -> schemas.DocumentsResult:
    number = await tracking.put_documents(batch.UBID, batch.documents)
    return _result("Inserted {} document(s)", number, batch.UBID)


@router.post(
    "/sms_documents/{ubid}/stream",
    status_code=201,
    summary="Store any number of documents of a transfer",
    description="One JSON object per line, stored while they arrive in transactions of 5000. An invalid line ends the "
    "stream; the response names the line and says what was stored. Sending everything again overwrites the same "
    "documents.",
    responses=documented(409),
    openapi_extra={**access(Rule.EDITOR, scope=KeyScope.TRACKING), **_NDJSON},
)
async def stream_documents(request: Request, tracking: TrackingDep, ubid: UbidParam) -> schemas.StreamResult:
    async def store(documents: list[schemas.DocumentInput]) -> None:
        await tracking.put_documents(ubid, documents)

    lines, batches = await store_stream(request.stream(), store)
    return schemas.StreamResult(UBID=ubid, lines=lines, batches=batches)


@router.get(
    "/sms_documents/{ubid}",
    summary="Count the documents of a transfer",
    responses=documented(404, 503),
    openapi_extra=access(Rule.EDITOR),
)
async def count_documents(tracking: TrackingDep, ubid: UbidParam) -> schemas.DocumentsResult:
    return _result("Found {} document(s)", await tracking.count_documents(ubid), ubid)


@router.get(
    "/sms_documents/{ubid}/items",
    summary="List the documents of a transfer",
    description="A bare array, sorted by `uniqueId`. `Link` has the next page, which starts after the last document of "
    "this one even if earlier ones were added or deleted; the last page has no `Link`. A page of large documents has "
    "fewer than `limit`. There is no total, because counting costs more than the page.",
    responses={200: {"headers": {"Link": PAGE_HEADERS["Link"]}}, **documented(404, 503)},
    openapi_extra=access(Rule.EDITOR),
)
async def list_documents(
    request: Request,
    tracking: TrackingDep,
    ubid: UbidParam,
    filters: Annotated[schemas.DocumentFilters, Query()],
    response: Response,
) -> list[schemas.DocumentPublic]:
    documents, may_go_on = await tracking.list_documents(ubid, filters)
    if may_go_on:
        next_page = request.url.include_query_params(after=documents[-1].uniqueId, limit=filters.limit)
        response.headers["Link"] = f'<{next_page.path}?{next_page.query}>; rel="next"'
    return documents


@router.put(
    "/sms_documents/{ubid}/{state}",
    summary="Move the documents of a transfer forward",
    description="All of them, or none if one is already in a later state.",
    responses=documented(404, 409),
    openapi_extra=access(Rule.EDITOR, scope=KeyScope.TRACKING),
)
async def advance_documents(tracking: TrackingDep, ubid: UbidParam, state: StateParam) -> schemas.DocumentsResult:
    number = await tracking.advance_documents(ubid, state)
    return _result(f"Updated state to '{state}' in {{}} row(s)", number, ubid)


def _result(what: str, number: int, ubid: str) -> schemas.DocumentsResult:
    """The sentence that the API contract prescribes."""
    return schemas.DocumentsResult(result=f"{what.format(number)} for UBID '{ubid}' in table tracking.sms_documents")
