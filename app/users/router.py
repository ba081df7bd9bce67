"""HTTP routes of accounts and their addresses."""

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query, Request, Response

from app.core.http.access import Rule, access
from app.core.http.dependencies import DatabaseDep, SessionDep
from app.core.http.errors import documented
from app.core.http.openapi import links
from app.core.http.paging import PAGE_HEADERS, page_headers
from app.users import addresses, crud
from app.users.dependencies import IfMatchDep, PasswordsDep, PrincipalDep
from app.users.schemas import (
    AddressInput,
    AddressPublic,
    Tagged,
    UserCreate,
    UserFilters,
    UserPublic,
    UserReplace,
    UserUpdate,
)

router = APIRouter(prefix="/users", tags=["users"])


IdParam = Annotated[int, Path(description="Id of the account.", ge=1, le=2**63 - 1, examples=[1])]
AddressIdParam = Annotated[int, Path(description="Id of the address.", ge=1, le=2**63 - 1, examples=[1])]

TAG_HEADER: Final = {"ETag": {"description": "Changes with what the answer shows.", "schema": {"type": "string"}}}
_NEW_HEADERS: Final = {
    "Location": {"description": "Where the new object is.", "schema": {"type": "string"}},
    **TAG_HEADER,
}
_USER_LINKS: Final = links(
    *("get_user", "replace_user", "update_user", "delete_user", "list_addresses", "add_address"),
    user_id="$response.body#/id",
)
_ADDRESS_LINKS: Final = links(
    *("get_address", "replace_address", "delete_address"),
    user_id="$response.body#/user_id",
    address_id="$response.body#/id",
)


@router.post(
    "",
    status_code=201,
    summary="Create an account",
    description="Addresses may come along; all is stored together or not at all.",
    response_model=UserPublic,
    responses={201: {"headers": _NEW_HEADERS, "links": _USER_LINKS}, **documented(409)},
    openapi_extra=access(Rule.ADMIN),
)
async def create_user(request: Request, database: DatabaseDep, passwords: PasswordsDep, given: UserCreate) -> Response:
    user = await crud.create_user(database, passwords, given)
    return answer(user, status_code=201, headers={"Location": f"{request.url.path}/{user.id}"})


@router.get(
    "",
    summary="List accounts",
    description="As a bare array, a page at a time; totals and neighbouring pages are in the headers.",
    responses={200: {"headers": PAGE_HEADERS}, **documented(400)},
    openapi_extra=access(Rule.ADMIN),
)
async def list_users(
    request: Request, session: SessionDep, filters: Annotated[UserFilters, Query()], response: Response
) -> list[UserPublic]:
    users, total = await crud.list_users(session, filters)
    response.headers.update(page_headers(request, total, filters))
    return users


@router.get(
    "/{user_id}",
    summary="One account",
    response_model=UserPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404)},
    openapi_extra=access(Rule.OWNER),
)
async def get_user(session: SessionDep, user_id: IdParam) -> Response:
    return answer(await crud.get_user(session, user_id))


@router.put(
    "/{user_id}",
    summary="Replace an account",
    description="Addresses have routes of their own, and a password that is left out stays. A new password or role, or "
    "deactivating the account, ends all its tokens and API keys. Only an admin may change role and activity.",
    response_model=UserPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404, 409, 412)},
    openapi_extra=access(Rule.OWNER),
)
async def replace_user(
    database: DatabaseDep,
    passwords: PasswordsDep,
    principal: PrincipalDep,
    user_id: IdParam,
    given: UserReplace,
    if_match: IfMatchDep,
) -> Response:
    return answer(await crud.update_user(database, passwords, user_id, given, by=principal, if_match=if_match))


@router.patch(
    "/{user_id}",
    summary="Change an account",
    description="What is left out stays; otherwise as replacing it.",
    response_model=UserPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404, 409, 412)},
    openapi_extra=access(Rule.OWNER),
)
async def update_user(
    database: DatabaseDep,
    passwords: PasswordsDep,
    principal: PrincipalDep,
    user_id: IdParam,
    given: UserUpdate,
    if_match: IfMatchDep,
) -> Response:
    return answer(await crud.update_user(database, passwords, user_id, given, by=principal, if_match=if_match))


@router.delete(
    "/{user_id}",
    status_code=204,
    summary="Delete an account",
    description="With its addresses, tokens and API keys. What it did stays in the audit trail.",
    responses=documented(404, 412),
    openapi_extra=access(Rule.OWNER),
)
async def delete_user(database: DatabaseDep, user_id: IdParam, if_match: IfMatchDep) -> None:
    await crud.delete_user(database, user_id, if_match=if_match)


@router.get(
    "/{user_id}/addresses",
    summary="List addresses",
    description="All of the account, as a bare array, in the order in which they were added.",
    responses=documented(404),
    openapi_extra=access(Rule.OWNER),
)
async def list_addresses(session: SessionDep, user_id: IdParam) -> list[AddressPublic]:
    return await addresses.list_addresses(session, user_id)


@router.post(
    "/{user_id}/addresses",
    status_code=201,
    summary="Add an address",
    description="At most 50.",
    response_model=AddressPublic,
    responses={201: {"headers": _NEW_HEADERS, "links": _ADDRESS_LINKS}, **documented(404, 409)},
    openapi_extra=access(Rule.OWNER),
)
async def add_address(request: Request, database: DatabaseDep, user_id: IdParam, given: AddressInput) -> Response:
    address = await addresses.add_address(database, user_id, given)
    return answer(address, status_code=201, headers={"Location": f"{request.url.path}/{address.id}"})


@router.get(
    "/{user_id}/addresses/{address_id}",
    summary="One address",
    response_model=AddressPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404)},
    openapi_extra=access(Rule.OWNER),
)
async def get_address(session: SessionDep, user_id: IdParam, address_id: AddressIdParam) -> Response:
    return answer(await addresses.get_address(session, user_id, address_id))


@router.put(
    "/{user_id}/addresses/{address_id}",
    summary="Replace an address",
    response_model=AddressPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404, 412)},
    openapi_extra=access(Rule.OWNER),
)
async def replace_address(
    database: DatabaseDep, user_id: IdParam, address_id: AddressIdParam, given: AddressInput, if_match: IfMatchDep
) -> Response:
    return answer(await addresses.replace_address(database, user_id, address_id, given, if_match=if_match))


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


def answer(shown: Tagged, *, status_code: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An account or address as JSON, with the tag of just these bytes."""
    content = shown.model_dump_json()
    return Response(content, status_code, {"ETag": shown.tag, **(headers or {})}, "application/json")
