"""Database URLs as hosting providers hand them out, made ready for the async drivers."""

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
}
_SSL_MODES: Final = {
    "disabled": "disabled",
    "disable": "disabled",
    "false": "disabled",
    "preferred": "preferred",
    "prefer": "preferred",
    "allow": "preferred",
    "required": "required",
    "require": "required",
    "true": "required",
    "verify_ca": "verify_ca",
    "verify_identity": "verify_identity",
    "verify_full": "verify_identity",
}
_SSL_MODE_NAMES: Final = ("ssl-mode", "sslmode", "ssl_mode", "ssl")
_SSL_CA_NAMES: Final = ("ssl-ca", "sslrootcert", "ssl_ca")
_OTHER_OPTIONS: Final = ("charset", "unix_socket", "connect_timeout", "init_command", "read_timeout", "sql_mode")
_SECONDS: Final = ("connect_timeout", "read_timeout")


def normalize_database_url(raw: str) -> URL:
    """Fill in the asynchronous driver and, for MySQL, charset and TLS mode.

    Applying it to its own result changes nothing.

    Raises:
        ValueError: The scheme, an option or a TLS mode is not supported.
        ArgumentError: The text is no database URL at all.
    """
    url = make_url(raw.strip())
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ValueError(f"scheme {url.drivername}:// is not supported; use mysql://, mariadb:// or sqlite://")
    if driver.startswith("sqlite"):
        if url.database in (None, "", ":memory:"):
            raise ValueError("names no file; write sqlite:///countries.db, with a fourth slash for an absolute path")
        return url.set(drivername=driver)
    return normalize_mysql_url(raw)


def normalize_mysql_url(raw: str) -> URL:
    """Make a provider's MySQL or MariaDB URL one that SQLAlchemy can use.

    ``mysql://`` and ``mariadb://`` get the driver aiomysql (an explicit one
    stays), the charset is utf8mb4 unless the URL names another, and the many
    spellings of the TLS mode become one ``ssl_mode``. User, password and host
    are kept character by character.

    Raises:
        ValueError: An option or a TLS mode is not supported, or no database is named.
    """
    url = make_url(raw.strip())
    options = {name: _single(value) for name, value in url.query.items()}
    query = {"charset": "utf8mb4"}
    for name, value in options.items():
        if name in _SSL_MODE_NAMES:
            query["ssl_mode"] = _ssl_mode(value)
        elif name in _SSL_CA_NAMES:
            query["ssl_ca"] = value
            # Who names an authority wants it to be asked.
            query.setdefault("ssl_mode", "verify_ca")
        elif name in _SECONDS and not value.isdigit():
            raise ValueError(f"option {name} must be a number of seconds")
        elif name == "read_timeout" and "asyncmy" not in url.drivername:
            raise ValueError(
                "option read_timeout is known to the driver asyncmy only; DB_TIMEOUT_SECONDS bounds the rest"
            )
        elif name in _OTHER_OPTIONS:
            query[name] = value
        else:
            raise ValueError(f"option {name} is not supported; known are ssl-mode, ssl-ca, {', '.join(_OTHER_OPTIONS)}")
    if not url.database:
        raise ValueError("names no database; write mysql://user:password@host/name")
    return url.set(drivername=_DRIVERS[url.drivername], query=query)


def _single(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else value[-1]


def _ssl_mode(value: str) -> str:
    mode = _SSL_MODES.get(value.lower().replace("-", "_"))
    if mode is None:
        raise ValueError(
            f"ssl-mode {value} is not known; use DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"
        )
    return mode
