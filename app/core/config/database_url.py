"""Database URLs as hosting providers hand them out, or in separate settings, made ready for the async drivers.

With ``postgresql_url`` the only engine-specific code outside ``core/db``: settings check the URL before any driver is
imported.
"""

import ssl
from collections.abc import Mapping
from typing import Any, Final, Literal

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.core.config.postgresql_url import SCHEMES, normalize_postgresql_url, read_target, tls_argument

DatabaseEngine = Literal["mysql", "mariadb", "postgresql", "sqlite"]

SEPARATE: Final = {
    "database_hostname": "host",
    "database_port": "port",
    "database_username": "username",
    "database_password": "password",
    "database_name": "database",
}
"""The settings that together name a database, with ``database_engine``, and the parts of a URL that they are."""
_PORTS: Final = {"mysql": 3306, "postgresql": 5432}

_NO_URL: Final = (
    "is not a database URL; use postgresql://user:password@host/name, mysql://user:password@host/name "
    "or sqlite:///file.db"
)

_DRIVERS: Final = {
    "mysql": "mysql+aiomysql",
    "mariadb": "mysql+aiomysql",
    "sqlite": "sqlite+aiosqlite",
    "mysql+aiomysql": "mysql+aiomysql",
    "mysql+asyncmy": "mysql+asyncmy",
    "mariadb+aiomysql": "mysql+aiomysql",
    "mariadb+asyncmy": "mysql+asyncmy",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
}
_SSL_MODES: Final = {
    **dict.fromkeys(("disabled", "disable", "false"), "disabled"),
    **dict.fromkeys(("preferred", "prefer", "allow"), "preferred"),
    **dict.fromkeys(("required", "require", "true"), "required"),
    "verify_ca": "verify_ca",
    **dict.fromkeys(("verify_identity", "verify_full"), "verify_identity"),
}
_SSL_MODE_NAMES: Final = ("ssl-mode", "sslmode", "ssl_mode", "ssl")
_SSL_CA_NAMES: Final = ("ssl-ca", "sslrootcert", "ssl_ca")
_OTHER_OPTIONS: Final = ("charset", "unix_socket", "connect_timeout", "init_command", "read_timeout", "sql_mode")
_SECONDS: Final = ("connect_timeout", "read_timeout")


def normalize_database_url(raw: str) -> URL:
    """Make a provider's URL one that SQLAlchemy can use with an asynchronous driver.

    User, password and host are kept character by character. Normalising twice changes nothing.

    Raises:
        ValueError: With what to change: it is not a URL, the scheme, an option or a TLS mode is not supported, or no
            database is named.
    """
    if _is_postgresql(raw):
        return normalize_postgresql_url(raw)
    try:
        url = make_url(raw.strip())
    except (ArgumentError, ValueError):
        raise ValueError(_NO_URL) from None  # SQLAlchemy's own message quotes the URL, password and all
    if "@" in (url.host or ""):
        raise ValueError("has an @ in its user or password; write it as %40")
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        known = "mysql://, mariadb://, postgresql:// or sqlite://"
        raise ValueError(f"scheme {url.drivername}:// is not supported; use {known}")
    return _NORMALIZERS[driver.partition("+")[0]](url.set(drivername=driver))


def _is_postgresql(raw: str) -> bool:
    return raw.strip().partition("://")[0] in SCHEMES


def check_database_url(raw: str) -> None:
    """Check a URL and the files of certificates that it names; raise ValueError with what to change."""
    url = normalize_database_url(raw)
    if _is_postgresql(raw):
        tls_argument(read_target(raw))
        return
    try:
        tls_context(url)
    except OSError:
        raise ValueError("ssl-ca must name a file of certificates") from None


def ignored_options(raw: str) -> tuple[str, ...]:
    """The options of a URL that mean nothing to this service."""
    return read_target(raw).ignored if _is_postgresql(raw) else ()


def join_url(parts: Mapping[str, Any]) -> str:
    """Make a URL of the separate settings that are set; see ``SEPARATE`` for their names.

    Raises:
        ValueError: One is missing, or has no meaning for the engine.
    """
    engine = parts.get("database_engine") or _engine_at(parts.get("database_port"))
    needed = ["database_name"] if engine == "sqlite" else ["database_hostname", "database_username", "database_name"]
    for name in needed:
        if name not in parts:
            raise ValueError(f"{name.upper()}: is required with {next(iter(parts)).upper()}")
    for name in parts:
        if engine == "sqlite" and name not in ("database_engine", *needed):
            raise ValueError(f"{name.upper()}: has no meaning with DATABASE_ENGINE=sqlite; remove it")
    values: dict[str, Any] = {part: parts.get(name) for name, part in SEPARATE.items()}
    return URL.create(engine, **values).render_as_string(hide_password=False)


def first_difference(raw: str, parts: Mapping[str, Any]) -> str | None:
    """The name of a separate setting that contradicts the URL; None if they agree."""
    url = normalize_database_url(raw)
    engine = "mysql" if parts.get("database_engine") == "mariadb" else parts.get("database_engine")
    found = {name: getattr(url, part) for name, part in SEPARATE.items()}
    found["database_port"] = url.port or _PORTS.get(url.get_backend_name())
    if engine not in (None, url.get_backend_name()):
        return "database_engine"
    return next((name for name, value in parts.items() if name in found and found[name] != value), None)


def _engine_at(port: int | None) -> str:
    return "postgresql" if port == _PORTS["postgresql"] else "mysql"


def _normalize_sqlite(url: URL) -> URL:
    if url.database in (None, "", ":memory:"):
        raise ValueError("names no file; write sqlite:///countries.db, with a fourth slash for an absolute path")
    return url


def _normalize_mysql(url: URL) -> URL:
    """Default to the charset utf8mb4, and give the TLS options one spelling."""
    query = {"charset": "utf8mb4"}
    for name, values in url.query.items():
        value = values if isinstance(values, str) else values[-1]
        if name in _SSL_MODE_NAMES:
            query["ssl_mode"] = _SSL_MODES.get(value.lower().replace("-", "_"), "")
            if not query["ssl_mode"]:
                known = "DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"
                raise ValueError(f"ssl-mode {value} is not supported; use {known}")
        elif name in _SSL_CA_NAMES:
            query["ssl_ca"] = value
            # Naming a CA means that certificates must be verified.
            query.setdefault("ssl_mode", "verify_ca")
        elif name in _SECONDS and not value.isdigit():
            raise ValueError(f"option {name} must be a number of seconds")
        elif name == "read_timeout" and "asyncmy" not in url.drivername:
            raise ValueError("option read_timeout needs the driver asyncmy; DB_TIMEOUT_SECONDS bounds the rest")
        elif name in _OTHER_OPTIONS:
            query[name] = value
        else:
            known = ", ".join(_OTHER_OPTIONS)
            raise ValueError(f"option {name} is not supported; supported are ssl-mode, ssl-ca, {known}")
    if not url.database:
        raise ValueError("names no database; write mysql://user:password@host/name")
    return url.set(query=query)


_NORMALIZERS: Final = {"mysql": _normalize_mysql, "sqlite": _normalize_sqlite}


def tls_context(url: URL) -> ssl.SSLContext | None:
    """The TLS context that a normalised URL asks for; None for a plain connection.

    Raises:
        OSError: ``ssl-ca`` does not name a file of certificates.
    """
    mode = url.query.get("ssl_mode")
    if mode is None or mode == "disabled":
        return None
    authority = url.query.get("ssl_ca")
    context = ssl.create_default_context(cafile=str(authority) if authority else None)
    context.check_hostname = mode == "verify_identity"
    if mode in ("preferred", "required"):
        # MySQL's own meaning of these modes: encrypted, but the server is not verified.
        context.verify_mode = ssl.CERT_NONE
    return context


def requires_tls(url: URL) -> bool:
    """Whether a plain connection must be refused: the drivers accept one if a man in the middle asks for it."""
    return url.query.get("ssl_mode") in ("required", "verify_ca", "verify_identity")
