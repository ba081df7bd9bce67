"""HTTP routes of accounts and their addresses."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from app.core.http.access import Rule, access
from app.core.http.dependencies import DatabaseDep, SessionDep
from app.core.http.errors import documented
from app.core.http.numbers import NO_UNDERSCORES
from app.core.http.paging import PAGE_HEADERS, page_headers
from app.users import addresses, crud, schemas
from app.users.dependencies import IfMatchDep, PasswordsDep, PrincipalDep

router = APIRouter(prefix="/users", tags=["users"])

IdParam = Annotated[int, Path(description="Id of the account.", ge=1, le=2**63 - 1, examples=[1]), NO_UNDERSCORES]
AddressIdParam = Annotated[
    int, Path(description="Id of the address.", ge=1, le=2**63 - 1, examples=[1]), NO_UNDERSCORES
]

TAG_HEADER: Final = {"ETag": {"description": "Changes whenever the response changes.", "schema": {"type": "string"}}}
_LOCATION: Final = {"Location": {"description": "Path of the new object.", "schema": {"type": "string"}}}


@router.post(
    "",
    status_code=201,
    summary="Create an account",
    description="May include addresses; everything is stored together or not at all.",
    response_model=schemas.UserPublic,
    responses={201: {"headers": _LOCATION | TAG_HEADER}, **documented(409)},
    openapi_extra=access(Rule.ADMIN),
)
async def create_user(
    request: Request, database: DatabaseDep, passwords: PasswordsDep, body: schemas.UserCreate
) -> Response:
    user = await crud.create_user(database, passwords, body)
    return answer(user, status_code=201, headers={"Location": f"{request.url.path}/{user.id}"})


@router.get(
    "",
    summary="List accounts",
    description="A page of accounts as a bare array. Totals and links to neighbouring pages are in the headers.",
    responses={200: {"headers": PAGE_HEADERS}, **documented(400)},
    openapi_extra=access(Rule.ADMIN),
)
async def list_users(
    request: Request, session: SessionDep, filters: Annotated[schemas.UserFilters, Query()], response: Response
) -> list[schemas.UserPublic]:
    users, total = await crud.list_users(session, filters)
    response.headers.update(page_headers(request, total, filters.limit, filters.offset))
    return users


@router.get(
    "/{user_id}",
    summary="Get an account",
    response_model=schemas.UserPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404)},
    openapi_extra=access(Rule.OWNER),
)
async def get_user(session: SessionDep, user_id: IdParam) -> Response:
    return answer(await crud.get_user(session, user_id))


@router.put(
    "/{user_id}",
    summary="Replace an account",
    description="Addresses have their own routes, and an omitted password is kept. A new password or role, or "
    "deactivating the account, ends all its tokens and API keys. Only an admin can change `role` and `is_active`.",
    response_model=schemas.UserPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404, 409, 412)},
    openapi_extra=access(Rule.OWNER),
)
async def replace_user(
    database: DatabaseDep,
    passwords: PasswordsDep,
    principal: PrincipalDep,
    user_id: IdParam,
    body: schemas.UserReplace,
    if_match: IfMatchDep,
) -> Response:
    return answer(await crud.update_user(database, passwords, user_id, body, by=principal, if_match=if_match))


@router.patch(
    "/{user_id}",
    summary="Update an account",
    description="Omitted fields keep their values; otherwise like replacing the account.",
    response_model=schemas.UserPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404, 409, 412)},
    openapi_extra=access(Rule.OWNER),
)
async def update_user(
    database: DatabaseDep,
    passwords: PasswordsDep,
    principal: PrincipalDep,
    user_id: IdParam,
    body: schemas.UserUpdate,
    if_match: IfMatchDep,
) -> Response:
    return answer(await crud.update_user(database, passwords, user_id, body, by=principal, if_match=if_match))


@router.delete(
    "/{user_id}",
    status_code=204,
    summary="Delete an account",
    description="Deletes its addresses, tokens and API keys too. Its audit entries are kept.",
    responses=documented(404, 412),
    openapi_extra=access(Rule.OWNER),
)
async def delete_user(database: DatabaseDep, user_id: IdParam, if_match: IfMatchDep) -> None:
    await crud.delete_user(database, user_id, if_match=if_match)


@router.get(
    "/{user_id}/addresses",
    summary="List addresses",
    description="All addresses of the account as a bare array, oldest first.",
    responses=documented(404),
    openapi_extra=access(Rule.OWNER),
)
async def list_addresses(session: SessionDep, user_id: IdParam) -> list[schemas.AddressPublic]:
    return (await crud.get_user(session, user_id)).addresses


@router.post(
    "/{user_id}/addresses",
    status_code=201,
    summary="Add an address",
    description="An account has at most 50.",
    response_model=schemas.AddressPublic,
    responses={201: {"headers": _LOCATION | TAG_HEADER}, **documented(404, 409)},
    openapi_extra=access(Rule.OWNER),
)
async def add_address(
    request: Request, database: DatabaseDep, user_id: IdParam, body: schemas.AddressInput
) -> Response:
    address = await addresses.add_address(database, user_id, body)
    return answer(address, status_code=201, headers={"Location": f"{request.url.path}/{address.id}"})


@router.get(
    "/{user_id}/addresses/{address_id}",
    summary="Get an address",
    response_model=schemas.AddressPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404)},
    openapi_extra=access(Rule.OWNER),
)
async def get_address(session: SessionDep, user_id: IdParam, address_id: AddressIdParam) -> Response:
    return answer(await addresses.get_address(session, user_id, address_id))


@router.put(
    "/{user_id}/addresses/{address_id}",
    summary="Replace an address",
    response_model=schemas.AddressPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404, 412)},
    openapi_extra=access(Rule.OWNER),
)
async def replace_address(
    database: DatabaseDep,
    user_id: IdParam,
    address_id: AddressIdParam,
    body: schemas.AddressInput,
    if_match: IfMatchDep,
) -> Response:
    return answer(await addresses.replace_address(database, user_id, address_id, body, if_match=if_match))


@router.delete(
    "/{user_id}/addresses/{address_id}",
    status_code=204,
    summary="Delete an address",
    responses=documented(404, 412),
    openapi_extra=access(Rule.OWNER),
)
async def delete_address(
    database: DatabaseDep, user_id: IdParam, address_id: AddressIdParam, if_match: IfMatchDep
) -> None:
    await addresses.delete_address(database, user_id, address_id, if_match=if_match)


def answer(shown: schemas.Tagged, *, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Respond with an account or address as JSON, and the entity tag of exactly these bytes."""
    content = shown.model_dump_json()
    return Response(content, status_code, {"ETag": shown.tag, **(headers or {})}, "application/json")
