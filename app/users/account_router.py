"""HTTP routes of sign-in and of the caller's own account."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Response

from app.core.http.access import Rule, access
from app.core.http.dependencies import DatabaseDep, SessionDep
from app.core.http.errors import documented
from app.core.http.numbers import NO_UNDERSCORES
from app.users import crud, sign_in
from app.users.dependencies import (
    AccountIdDep,
    CredentialLookupsDep,
    PasswordsDep,
    PrincipalDep,
    RateLimitsDep,
    TokenLifetimeDep,
)
from app.users.router import TAG_HEADER, answer
from app.users.schemas import ApiKeyCreate, ApiKeyCreated, ApiKeyPublic, SignInForm, TokenPublic, UserPublic

router = APIRouter()

KeyIdParam = Annotated[int, Path(description="Id of the API key.", ge=1, le=2**63 - 1, examples=[7]), NO_UNDERSCORES]


@router.post(
    "/auth/token",
    tags=["sign-in"],
    summary="Sign in",
    description="OAuth2 password flow. At most five failures in five minutes for an email address.",
    responses=documented(401, 429, 503),
    openapi_extra={**access(Rule.EVERYONE), "x-rate-limit": "sign-in"},
)
async def create_token(
    database: DatabaseDep,
    passwords: PasswordsDep,
    limits: RateLimitsDep,
    lookups: CredentialLookupsDep,
    lifetime: TokenLifetimeDep,
    form: Annotated[SignInForm, Form()],
    response: Response,
) -> TokenPublic:
    response.headers["Cache-Control"] = "no-store"
    return await sign_in.sign_in(database, passwords, limits, lookups, form, lifetime)


@router.delete(
    "/auth/token",
    status_code=204,
    tags=["sign-in"],
    summary="Sign out",
    description="Ends only the token used for this request. To revoke an API key, use its id.",
    responses=documented(),
    openapi_extra=access(Rule.ACCOUNT),
)
async def delete_token(database: DatabaseDep, principal: PrincipalDep) -> None:
    await sign_in.sign_out(database, principal)


@router.get(
    "/users/me",
    tags=["users"],
    summary="Get your account",
    response_model=UserPublic,
    responses={200: {"headers": TAG_HEADER}, **documented(404)},
    openapi_extra=access(Rule.ACCOUNT),
)
async def get_own_account(session: SessionDep, user_id: AccountIdDep) -> Response:
    return answer(await crud.get_user(session, user_id))


@router.get(
    "/users/me/api-keys",
    tags=["sign-in"],
    summary="List your API keys",
    responses=documented(),
    openapi_extra=access(Rule.ACCOUNT),
)
async def list_api_keys(session: SessionDep, user_id: AccountIdDep) -> list[ApiKeyPublic]:
    return await sign_in.list_api_keys(session, user_id)


@router.post(
    "/users/me/api-keys",
    status_code=201,
    tags=["sign-in"],
    summary="Create an API key",
    description="The key may do what the account may, within its `scopes`; it never changes accounts or keys. It is "
    "shown only once, and ends when it expires, is revoked, or the account's password or role changes.",
    responses=documented(409),
    openapi_extra=access(Rule.ACCOUNT),
)
async def create_api_key(
    database: DatabaseDep, lookups: CredentialLookupsDep, user_id: AccountIdDep, body: ApiKeyCreate
) -> ApiKeyCreated:
    return await sign_in.create_api_key(database, lookups, user_id, body)


@router.delete(
    "/users/me/api-keys/{key_id}",
    status_code=204,
    tags=["sign-in"],
    summary="Revoke an API key",
    responses=documented(404),
    openapi_extra=access(Rule.ACCOUNT),
)
async def revoke_api_key(database: DatabaseDep, user_id: AccountIdDep, key_id: KeyIdParam) -> None:
    await sign_in.revoke_api_key(database, user_id, key_id)
