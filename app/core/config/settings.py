"""Settings: the only reader of the environment and of ``.env``."""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.core.config.addresses import (
    is_host,
    is_http_url,
    origin_of,
    parse_chain,
    parse_networks,
    parse_origin,
    secrets_in,
    without_secrets,
)
from app.core.config.database_url import (
    SEPARATE,
    DatabaseEngine,
    check_database_url,
    first_difference,
    join_url,
    normalize_database_url,
)
from app.core.config.env_file import ENCODING, NAME, require_utf8
from app.core.config.sources import (
    COUNTRY_SOURCE_NAMES,
    DEFAULT_COUNTRY_SOURCES,
    DEFAULT_RATE_SOURCES,
    KEY,
    RATE_SOURCE_NAMES,
    RESTCOUNTRIES,
)
from app.core.problems import describe

_SHORTEST_KEY = 16
"""Characters; a random key of this length can't be guessed, whatever the rate limits."""
_LIMITS_OF_PRODUCTION = {"rate_limit_refresh": "10/minute", "rate_limit_sign_in": "5/minute"}

_URL = (is_http_url, "must be an http:// or https:// URL")
_LIMIT = (
    re.compile(r"off|[1-9]\d{0,8}/(second|minute|hour|day)").fullmatch,
    "must be off, or a number for each second, minute, hour or day, such as 10/minute",
)
_TEXTS: Mapping[str, tuple[Callable[[str], object], str]] = {
    "admin_api_key": (
        lambda key: key and key.isprintable() and key == key.strip(),
        "must be one line without white space around it, or no request could carry it",
    ),
    "restcountries_api_key": (re.compile(r"[\x21-\x7e]+").fullmatch, "has characters that no HTTP header can carry"),
    "restcountries_url": _URL,
    "rate_api_key": (re.compile(r"[\x21-\x7e]+").fullmatch, "must be ASCII characters without white space"),
    "audit_webhook_url": _URL,
    "public_url": (origin_of, "must be an http:// or https:// URL without a user name"),
    "database_hostname": (
        is_host,
        "must be one name or address; write sockets and several hosts into DATABASE_URL",
    ),
    "rate_limit_refresh": _LIMIT,
    "rate_limit_sign_in": _LIMIT,
    "rate_limit_reads": _LIMIT,
    "rate_limit_storage": (
        re.compile(r"memory|(redis|valkey)s?://\S+").fullmatch,
        "must be memory, or an address such as redis://host:6379/0 or valkey://host:6379/0",
    ),
}
"""Settings that are text: the check of each, and the message if it fails."""


class AllowAnonymous(StrEnum):
    """What everybody may do without a credential; each value includes the ones before it."""

    REFRESH = "refresh"
    COUNTRIES = "countries"
    ALL = "all"

    def includes(self, other: "AllowAnonymous") -> bool:
        """Whether this value opens everything that the other one opens."""
        values = list(AllowAnonymous)
        return values.index(self) >= values.index(other)


Words = Annotated[tuple[str, ...], NoDecode]
"""Several values in one setting, separated by white space."""


class Settings(BaseSettings):
    """Everything an operator can set, with the defaults of a developer's machine."""

    model_config = SettingsConfigDict(
        env_file=NAME, env_file_encoding=ENCODING, env_ignore_empty=True, extra="ignore", frozen=True
    )

    environment: Literal["development", "production"] = "development"
    """``production`` refuses to start without ``ADMIN_API_KEY``, and with a short one."""
    admin_api_key: SecretStr | None = None
    """Key of an admin, sent in ``X-API-Key``; without one, callers on the same machine may do everything."""
    allow_anonymous: AllowAnonymous | None = None
    """What everybody may do without a credential: refresh countries, also delete them, or everything. None: read."""
    public_url: str | None = None
    """Public http(s) address of the service; its host is trusted like ``localhost``. None without one."""
    token_hours: float = Field(default=12, gt=0, le=8760)
    """Life of a sign-in token."""
    audit_webhook_url: SecretStr | None = None
    """URL that gets every audit entry as JSON; None sends none. Secret, because such URLs carry keys."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    web_concurrency: int = Field(default=1, ge=1, le=64)
    """Worker processes of ``python -m app serve``."""

    database_url: SecretStr = SecretStr("sqlite:///data/countries.db")
    """``postgresql://``, ``mysql://``, ``mariadb://`` or ``sqlite://``; or made of the separate settings below."""
    database_engine: DatabaseEngine | None = None
    """None: PostgreSQL if ``database_port`` is 5432, else MySQL."""
    database_hostname: str | None = None
    """Name or address of the database's server. Needs the user and the name too, unless ``database_url`` has them."""
    database_port: int | None = Field(default=None, ge=1, le=65535)
    """None for the engine's own port."""
    database_username: str | None = None
    database_password: SecretStr | None = None
    """None for a user without a password."""
    database_name: str | None = None
    """Name of the database; of SQLite, its file."""
    db_pool_size: int = Field(default=10, ge=1, le=500)
    db_max_overflow: int = Field(default=10, ge=0, le=500)
    db_pool_timeout_seconds: float = Field(default=2, gt=0, le=60)
    db_pool_recycle_seconds: int = Field(default=1800, ge=1)
    """Connections older than this are replaced; keep it below the server's ``wait_timeout``."""
    db_timeout_seconds: float = Field(default=4, gt=0, le=300)
    """Bound of one whole unit of database work: connection, retries and commit."""

    country_sources: Words = DEFAULT_COUNTRY_SOURCES
    """Names or http(s) URLs, tried in order until one gives a usable answer."""
    rate_sources: Words = DEFAULT_RATE_SOURCES
    max_rate_age_days: int = Field(default=7, ge=1, le=3650)
    """Sources most of whose rates are older are passed over while a later one has newer ones; else marked as stale."""
    rate_api_key: SecretStr | None = None
    """Put in place of ``{key}`` in the URLs of ``rate_sources``; required if one has it."""
    restcountries_api_key: SecretStr | None = None
    """Key of REST Countries v5; None leaves ``restcountries`` out of the chain."""
    restcountries_url: str = "https://api.restcountries.com/countries/v5"
    """The only address to which the key is sent."""
    upstream_timeout_seconds: float = Field(default=10, gt=0, le=25)
    """Time limit of one source, retries included."""
    upstream_max_bytes: int = Field(default=4 * 2**20, ge=1024)
    """Maximum size of one response of a source, after decompression."""

    rate_limit_refresh: str = "off"
    """Refreshes per client, such as ``10/minute``, the default in production; or ``off``."""
    rate_limit_sign_in: str = "off"
    """Sign-in attempts per client, and as many wrong tokens and keys; ``5/minute`` in production."""
    rate_limit_reads: str = "off"
    """Reads per client, without health and metrics."""
    rate_limit_storage: SecretStr = SecretStr("memory")
    """``memory`` of each process, or the URL of a Redis or Valkey that all processes share."""
    trusted_proxies: Words = ()
    """Addresses and networks of proxies whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are trusted."""

    max_body_bytes: int = Field(default=8 * 2**20, ge=0)
    """Maximum size of a body of documents; other bodies have 16 KiB at most, or this if it is less."""
    refresh_on_start: Literal["never", "if-empty", "always"] = "if-empty"
    """Whether to refresh in the background after the start; bundled rates count as empty."""
    refresh_interval_minutes: float = Field(default=0, ge=0, le=525_600)
    """Interval of scheduled refreshes, at most a year; 0 schedules none."""

    cache_max_bytes: int = Field(default=64 * 2**20, ge=0, le=2**40)
    """Memory for cached responses in each process; 0 caches none."""
    cache_revalidate_seconds: float = Field(default=1, ge=0, le=3600)
    """How long a cached response may be out of date after a change by another process; 0 checks each time."""
    cache_max_stale_seconds: float = Field(default=300, ge=0, le=86_400)
    """How long the last response is served while the database is away; 0 serves none."""
    cache_shared_max_age_seconds: int = Field(default=0, ge=0, le=31_536_000)
    """``s-maxage``: how long a proxy or CDN may serve a response without revalidation; 0 revalidates each time."""

    cors_origins: Words = ("*",)
    """Origins of pages that may call the service; ``*`` allows reads only."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"
    log_requests: Literal["all", "errors", "off"] = "all"

    @field_validator("country_sources", "rate_sources", "cors_origins", "trusted_proxies", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("country_sources", "rate_sources")
    @classmethod
    def _known_sources(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = COUNTRY_SOURCE_NAMES if info.field_name == "country_sources" else RATE_SOURCE_NAMES
        parse_chain(value, known=known)
        if any(KEY in urlsplit(word).netloc for word in value):
            raise ValueError(f"{KEY} may be only in the path or query of a URL")  # hosts are shown
        return value

    @field_validator("cors_origins")
    @classmethod
    def _plain_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return value if value == ("*",) else tuple(map(parse_origin, value))

    @field_validator(*_TEXTS)
    @classmethod
    def _usable_text(cls, value: SecretStr | str | None, info: ValidationInfo) -> SecretStr | str | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        is_usable, message = _TEXTS[str(info.field_name)]
        if text is not None and not is_usable(text):
            raise ValueError(message)
        return value

    @model_validator(mode="before")
    @classmethod
    def _limited_in_production(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {**_LIMITS_OF_PRODUCTION, **given} if given.get("environment") == "production" else given

    @field_validator("trusted_proxies")
    @classmethod
    def _usable_proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_networks(value)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper_case(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _usable_database_url(cls, value: SecretStr) -> SecretStr:
        check_database_url(value.get_secret_value())
        return value

    @model_validator(mode="wrap")
    @classmethod
    def _one_database(cls, given: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        settings = validate(given)
        values = {name: getattr(settings, name) for name in ("database_engine", *SEPARATE)}
        parts = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in values.items()
            if value is not None
        }
        if not parts:
            return settings
        if "database_url" not in settings.model_fields_set:
            return validate({**given, "database_url": join_url(parts)})
        if different := first_difference(settings.database_url.get_secret_value(), parts):
            raise ValueError(f"{different.upper()}: differs from DATABASE_URL; remove one of them")
        return settings

    @model_validator(mode="after")
    def _keyed_source_has_its_key(self) -> Self:
        if self.country_sources == (RESTCOUNTRIES,) and self.restcountries_api_key is None:
            raise ValueError("RESTCOUNTRIES_API_KEY: is required when restcountries is the only source of countries")
        return self

    @model_validator(mode="after")
    def _placeholder_has_its_key(self) -> Self:
        if self.rate_api_key is None and any(KEY in word for word in self.rate_sources):
            raise ValueError(f"RATE_API_KEY: is required by {KEY} in RATE_SOURCES")
        return self

    @model_validator(mode="after")
    def _production_has_a_key(self) -> Self:
        if self.environment != "production":
            return self
        if self.admin_api_key is None:
            if self.allow_anonymous is AllowAnonymous.ALL:
                return self
            raise ValueError("ADMIN_API_KEY: is required when ENVIRONMENT=production")
        if len(self.admin_api_key.get_secret_value()) < _SHORTEST_KEY:
            raise ValueError(
                f"ADMIN_API_KEY: must have at least {_SHORTEST_KEY} characters when ENVIRONMENT=production; "
                "openssl rand -hex 32 makes a good one"
            )
        return self

    def masked(self) -> dict[str, str]:
        """Every setting as text, with secrets and the credentials in URLs hidden."""
        shown = {name: _shown(value) for name, value in self}
        url = normalize_database_url(self.database_url.get_secret_value())
        storage = without_secrets(self.rate_limit_storage.get_secret_value())
        return {**shown, "database_url": url.render_as_string(hide_password=True), "rate_limit_storage": storage}

    @property
    def rate_limits(self) -> dict[str, str]:
        """The limits by their names."""
        return {
            "refresh": self.rate_limit_refresh,
            "sign-in": self.rate_limit_sign_in,
            "credentials": self.rate_limit_sign_in,
            "reads": self.rate_limit_reads,
        }

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that must never be written anywhere; the database's password also as its URL spells it."""
        keys = (
            *(self.admin_api_key, self.restcountries_api_key, self.rate_api_key),
            *(self.audit_webhook_url, self.database_password),
        )
        of_sources = chain.from_iterable(map(secrets_in, (*self.country_sources, *self.rate_sources)))
        url, storage = self.database_url.get_secret_value(), self.rate_limit_storage.get_secret_value()
        passwords = (
            normalize_database_url(url).password,
            *re.findall("://[^:/]*:([^@]*)@", f"{url} {storage}"),
            *re.findall("[?&]password=([^&]*)", url),
        )
        return tuple(filter(None, (*(key.get_secret_value() for key in keys if key), *passwords, *of_sources)))


def _shown(value: object) -> str:
    words = value if isinstance(value, tuple) else () if value is None else (value,)
    # A source's URL may carry a key in its query or its user part.
    return " ".join(without_secrets(str(word)) for word in words)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings, or raise SystemExit with one line for each wrong setting."""
    env_file = overrides.get("_env_file", NAME)
    try:
        if env_file is not None:
            require_utf8(Path(env_file))
        return Settings(**overrides)
    except ValidationError as error:
        raise SystemExit("\n".join(f"Wrong setting: {_describe(problem)}" for problem in error.errors())) from None
    except ValueError as error:
        raise SystemExit(f"Wrong setting: {error}") from None


def _describe(problem: Any) -> str:
    message = describe(problem)
    name = "_".join(str(part) for part in problem["loc"][:1]).upper()
    # The value itself is not shown: it may be a secret.
    return f"{name}: {message}" if name else message
