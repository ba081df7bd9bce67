"""Database URLs as hosting providers hand them out, made ready for the async drivers.

The only engine-specific code outside ``core/db``: settings check the URL before any driver is imported.
"""

import ssl
from typing import Final

from sqlalchemy import URL, make_url

_DRIVERS: Final = {
    "mysql": "mysql+aiomysql",
    "mariadb": "mysql+aiomysql",
    "sqlite": "sqlite+aiosqlite",
    "mysql+aiomysql": "mysql+aiomysql",
    "mysql+asyncmy": "mysql+asyncmy",
    "mariadb+aiomysql": "mysql+aiomysql",
    "mariadb+asyncmy": "mysql+asyncmy",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    **dict.fromkeys(("postgresql", "postgres", "postgresql+asyncpg"), "postgresql+asyncpg"),
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
        ValueError: The scheme, an option or a TLS mode is not supported, or no database is named.
        ArgumentError: The text is not a URL.
    """
    url = make_url(raw.strip())
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ValueError(
            f"scheme {url.drivername}:// is not supported; use mysql://, mariadb://, postgresql:// or sqlite://"
        )
    return _NORMALIZERS[driver.partition("+")[0]](url.set(drivername=driver))


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


def _normalize_postgresql(url: URL) -> URL:
    if not url.database:
        raise ValueError("names no database; write postgresql://user:password@host/name")
    return url


_NORMALIZERS: Final = {
    "mysql": _normalize_mysql,
    "postgresql": _normalize_postgresql,
    "sqlite": _normalize_sqlite,
}


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
