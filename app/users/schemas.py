"""Request and response schemas of accounts, sign-in and API keys."""

import unicodedata
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Annotated, Final, Literal

from email_validator import EmailNotValidError, validate_email
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, StringConstraints
from pydantic.config import JsonDict

from app.core.characters import SHOWN_LINE, shown_line
from app.core.db.keys import name_key
from app.core.http.access import KeyScope, Role
from app.core.http.bodies import RequestBody
from app.core.http.cache.conditional import entity_tag, require_match
from app.core.http.numbers import integral_float_to_int
from app.core.http.paging import LimitField, OffsetField
from app.sources import reference

_PARTS: Final = frozenset({"AC", "CP", "CQ", "DG", "EA", "IC", "TA"})
"""Islands and cities that ISO 3166 reserves a code for, though they belong to a country, such as Ascension."""


@cache
def territories() -> frozenset[str]:
    """Return the alpha-2 codes that an address may have."""
    return _PARTS | reference.countries().keys()


MAX_ADDRESSES: Final = 50
_ADDRESS: Final[JsonDict] = {"street": "12 Ridge Road", "city": "Accra", "postal_code": "GA-144-1239", "country": "GH"}
_ADDRESS_STORED: Final[JsonDict] = {"id": 1, **_ADDRESS, "user_id": 1}
_ADA: Final[JsonDict] = {"fname": "Ada", "lname": "Mensah", "email": "ada@example.com", "role": "editor"}
_WHEN: Final = "2026-11-21T09:17:00.250000Z"
_TIMES: Final[JsonDict] = {"created_at": _WHEN, "updated_at": _WHEN}
_TOKEN: Final[JsonDict] = {"access_token": "token_wMjEQ...", "token_type": "bearer", "expires_in": 43200}
_LIFE: Final[JsonDict] = {"created_at": _WHEN, "expires_at": "2027-11-21T09:17:00.250000Z", "last_used_at": None}
_KEY: Final[JsonDict] = {"id": 7, "name": "nightly refresh", "scopes": ["refresh"], **_LIFE}


def _encodable(secret: SecretStr) -> SecretStr:
    # JSON can spell one. Other texts are checked by pydantic.
    if any(unicodedata.category(char) == "Cs" for char in secret.get_secret_value()):
        raise ValueError("contains an unpaired surrogate")
    return secret


def _email(text: str) -> str:
    try:
        # Without DNS queries: they would make the response depend on the network.
        # Strict: at most 64 characters before the @, because many mail servers refuse more.
        return validate_email(text, check_deliverability=False, strict=True).normalized
    except EmailNotValidError as error:
        raise ValueError(f"is not a valid email address: {error}") from None


def as_stored(email: str) -> str:
    """Return an e-mail address in the spelling in which it is stored; any other text unchanged."""
    try:
        return _email(email.strip())
    except ValueError:
        return email


def email_key(email: str) -> str:
    """Return an e-mail address in a form that ignores case and Unicode composition, for comparing."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email.strip()).casefold())


def _country_code(text: str) -> str:
    code = text.strip().upper()
    # upper() can lengthen a text: "ß" would become "SS", South Sudan.
    if len(code) != len(text.strip()) or code not in territories():
        raise ValueError("must be the alpha-2 code of a country, such as GH")
    return code


def _searchable(text: str) -> str:
    if not name_key(text):
        raise ValueError("must not be blank")
    return text


_SHOWN: Final[JsonDict] = {"pattern": SHOWN_LINE}


def _distinct(scopes: list[KeyScope]) -> list[KeyScope]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("must not repeat an entry")
    return scopes


Line = Annotated[str, Field(min_length=1, json_schema_extra=_SHOWN), AfterValidator(shown_line)]
# Not `Line` with a length: the length would be measured after stripping.
PostalCode = Annotated[str, Field(min_length=1, max_length=20, json_schema_extra=_SHOWN), AfterValidator(shown_line)]
PersonName = Annotated[str, Field(min_length=1, max_length=100, json_schema_extra=_SHOWN), AfterValidator(shown_line)]
Email = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254),
    AfterValidator(_email),
    Field(json_schema_extra={"format": "email"}),
]
Password = Annotated[
    SecretStr, Field(min_length=12, max_length=128, description="12 to 128 characters."), AfterValidator(_encodable)
]
CountryCode = Annotated[
    str,
    Field(
        description="Alpha-2 code of the country, in upper or lower case.",
        max_length=10,
        json_schema_extra=lambda schema: schema.update(enum=[*sorted(territories())]),
    ),
    AfterValidator(_country_code),
]
SearchText = Annotated[str, Field(max_length=200), AfterValidator(_searchable)]


class Tagged(BaseModel):
    """An object that is shown with an ``ETag``, and changed with ``If-Match``."""

    @property
    def tag(self) -> str:
        """Entity tag of the object as JSON."""
        return entity_tag(self.model_dump_json().encode()).decode()

    def require_match(self, if_match: str | None) -> None:
        """Check an ``If-Match`` header; None always matches.

        Raises:
            PreconditionFailed: The tag is not one of those in the header.
        """
        require_match(if_match.encode("latin-1") if if_match is not None else None, self.tag.encode())


class AddressInput(RequestBody):
    """A postal address, as sent by a client."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ADDRESS]})

    street: Line = Field(max_length=200)
    city: Line = Field(max_length=100)
    postal_code: PostalCode | None = None
    country: CountryCode


class AddressPublic(Tagged):
    """A postal address."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_ADDRESS_STORED]})

    id: int
    street: str
    city: str
    postal_code: str | None = Field(description="Null if the country has no postal codes.")
    country: str = Field(description="Alpha-2 code of the country.")
    user_id: int


class UserReplace(RequestBody):
    """All changeable fields of an account; without `password`, the password stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_ADA, "is_active": True}]})

    fname: PersonName
    lname: PersonName
    email: Email
    role: Role
    is_active: bool = Field(strict=True)
    # Optional, because clients send back what GET shows, which has no password.
    password: Password = Field(default_factory=lambda: SecretStr(""))


class UserUpdate(RequestBody):
    """Fields to change; missing fields keep their values."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lname": "Owusu"}]})

    # The defaults are never used, because unset fields are ignored. None would allow null in OpenAPI.
    fname: PersonName = Field(default_factory=str)
    lname: PersonName = Field(default_factory=str)
    email: Email = Field(default_factory=str)
    role: Role = Field(default_factory=lambda: Role.READER)
    is_active: bool = Field(default_factory=bool, strict=True)
    password: Password = Field(default_factory=lambda: SecretStr(""))


class UserCreate(RequestBody):
    """A new account."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_ADA, "password": "correct horse battery", "addresses": [_ADDRESS]}]}
    )

    fname: PersonName
    lname: PersonName
    email: Email
    password: Password
    role: Role = Role.READER
    is_active: bool = Field(default=True, strict=True)
    addresses: list[AddressInput] = Field(default_factory=list, max_length=MAX_ADDRESSES)


class UserPublic(Tagged):
    """An account, without its password."""

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [{"id": 1, **_ADA, "is_active": True, **_TIMES, "addresses": [_ADDRESS_STORED]}]
        },
    )

    id: int
    fname: str
    lname: str
    email: str = Field(description="Unique, ignoring case.")
    role: Role
    is_active: bool = Field(description="Whether the account can sign in and its API keys work.")
    created_at: datetime = Field(description="Time of creation, UTC.")
    updated_at: datetime = Field(description="Time of the last change of the account or its addresses, UTC.")
    addresses: list[AddressPublic]


class UserSort(StrEnum):
    """Sort orders of the list."""

    NAME_ASC = "name_asc"
    NAME_DESC = "name_desc"
    EMAIL_ASC = "email_asc"
    EMAIL_DESC = "email_desc"
    CREATED_ASC = "created_asc"
    CREATED_DESC = "created_desc"


class UserFilters(BaseModel):
    """Filters and order of the list of accounts."""

    q: SearchText | None = Field(default=None, description="Part of the name or the e-mail address.")
    sort: UserSort = Field(default=UserSort.CREATED_ASC, description="Sort order.")
    limit: LimitField = 100
    offset: OffsetField = 0


class SignInForm(BaseModel):
    """The form of OAuth2's password flow; other fields of it are ignored."""

    grant_type: Literal["password"] = "password"
    username: str = Field(min_length=1, max_length=320, description="E-mail address, in any case.")
    password: SecretStr = Field(min_length=1, max_length=128)


class TokenPublic(BaseModel):
    """A sign-in token, sent as ``Authorization: Bearer <access_token>``."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TOKEN]})

    access_token: str = Field(description="Shown only once; the service stores a hash.")
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  # the name of the scheme
    expires_in: int = Field(description="Lifetime in seconds.")


class ApiKeyCreate(RequestBody):
    """A new API key."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "nightly refresh", "scopes": ["refresh"]}]})

    name: PersonName = Field(description="Purpose of the key.")
    scopes: Annotated[list[KeyScope], AfterValidator(_distinct)] = Field(
        default=[KeyScope.READ],
        min_length=1,
        max_length=len(KeyScope),
        description="What the key may do, within the role of its account: `read` (every GET), `refresh` (refresh and "
        "delete countries), `tracking` (change transfers and documents).",
        json_schema_extra={"uniqueItems": True},
    )
    expires_in_days: Annotated[int, BeforeValidator(integral_float_to_int)] = Field(
        default=365, ge=1, le=3650, strict=True
    )


class ApiKeyPublic(BaseModel):
    """An API key, without its secret."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"examples": [_KEY]})

    id: int
    name: str
    scopes: list[KeyScope] = Field(description="What the key may do.")
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None = Field(description="Accurate to a minute; null before the first use.")


class ApiKeyCreated(ApiKeyPublic):
    """A new API key, with its secret."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_KEY, "key": "key_QnT4x..."}]})

    key: str = Field(description="The secret, to send as `X-API-Key`. Shown only once; the service stores a hash.")
