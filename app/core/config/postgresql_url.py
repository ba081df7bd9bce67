"""PostgreSQL URLs as libpq and hosting providers write them, and what asyncpg needs to follow them."""

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final, Literal, cast

from sqlalchemy import URL

from app.core.config.postgresql_options import decoded, read_query, refuse_unsupported

SCHEMES: Final = ("postgresql", "postgres", "postgresql+asyncpg")

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
SessionAttributes = Literal["any", "read-write", "primary"]

_PORT: Final = 5432
_POOLER_PORT: Final = 6543
"""Supabase's port of PgBouncer or Supavisor in transaction mode."""
_POOLER_HOST: Final = "-pooler."
"""Part of the host names of Neon's PgBouncer."""
_SSL_MODES: Final = {
    **{mode: mode for mode in ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")},
    # JDBC's and Node's words, which Heroku and others print.
    "true": "require",
    "1": "require",
    "no-verify": "require",
    "false": "disable",
    "0": "disable",
}
_SYSTEM: Final = "system"
"""Value of ``sslrootcert`` for the authorities that the system trusts."""

_FORM: Final = "postgresql://user:password@host/name"
_NO_URL: Final = f"is not a database URL; use {_FORM}, with reserved characters in user and password such as @ as %40"
_SHAPE: Final = re.compile(
    r"(?P<scheme>[\w+]+)://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?(?P<hosts>[^@/?#]*)"
    r"(?:/(?P<database>[^@/?#]*))?(?:\?(?P<query>[^#]*))?"
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A server, or several of which one is the primary, and how to connect."""

    hosts: tuple[tuple[str, int], ...]
    """Names or addresses with their ports, in the order to try; one that begins with / is the folder of a socket."""
    database: str
    user: str | None
    """None for the name of the operating system's user."""
    password: str | None = field(repr=False)
    sslmode: SslMode
    """With the meaning that the root certificate adds: ``require`` with one is ``verify-ca``."""
    sslrootcert: str | None
    """File of authorities; None for those that the system trusts."""
    sslcert: str | None
    """File of the client's certificate."""
    sslkey: str | None
    """File of the client's key; None if ``sslcert`` has it too."""
    target_session_attrs: SessionAttributes
    server_settings: Mapping[str, str]
    """Settings of each session, from ``options`` and ``application_name``."""
    connect_timeout: int | None
    """Seconds for each host; None without a limit."""
    is_pooled_by_transaction: bool
    """Whether a pooler such as PgBouncer may give each transaction another session of the server."""
    ignored: tuple[str, ...]
    """Options that the URL has and that mean nothing here."""


def read_target(url: str) -> Target:
    """Read a URL.

    Raises:
        ValueError: With what to change, and without any part of the URL that may be a secret.
    """
    shape = _SHAPE.fullmatch(url.strip())
    if shape is None or shape["scheme"] not in SCHEMES:
        has_password = (match := re.match(r"\w[\w+]*://[^/?#]*", url.strip())) and match[0].count("@") > 1
        raise ValueError("has an @ in its user or password; write it as %40" if has_password else _NO_URL)
    if shape["user"] is None and "@" in (shape["query"] or ""):
        raise ValueError(_NO_URL)  # a password with a question mark
    options = read_query(shape["query"] or "")
    ignored = refuse_unsupported(options)
    password = options.get("password") or decoded(shape["password"])
    if password == "[YOUR-PASSWORD]":  # noqa: S105  # Supabase's placeholder
        raise ValueError("has the placeholder [YOUR-PASSWORD]; write the password in its place")
    user = options.get("user") or decoded(shape["user"])
    if password and not user:
        raise ValueError(f"has a password but no user; write {_FORM}")
    hosts = _read_hosts(options.get("host") or decoded(shape["hosts"]), options.get("port", ""))
    database = options.get("dbname") or decoded(shape["database"])
    if not database:
        raise ValueError(f"names no database; write {_FORM}")
    return Target(
        hosts=hosts,
        database=database,
        user=user or None,
        password=password or None,
        **_read_tls(options),
        target_session_attrs=_read_attributes(options.get("target_session_attrs"), number_of_hosts=len(hosts)),
        server_settings=_read_settings(options),
        connect_timeout=_read_seconds(options.get("connect_timeout", "0")),
        is_pooled_by_transaction=_read_truth("pgbouncer", options["pgbouncer"])
        if "pgbouncer" in options
        else _looks_pooled(hosts),
        ignored=ignored,
    )


def _read_hosts(hosts: str, ports: str) -> tuple[tuple[str, int], ...]:
    if not hosts:
        raise ValueError(f"names no host; write {_FORM}, or ?host=/var/run/postgresql for a socket")
    found = [_split_port(word) for word in hosts.split(",")]
    given = ports.split(",") if ports else [port for _, port in found]
    if len(given) == 1:
        given *= len(found)
    if len(given) != len(found):
        raise ValueError("has another number of ports than of hosts; name one port, or one for each host")
    return tuple((host, _read_port(port)) for (host, _), port in zip(found, given, strict=True))


def _split_port(word: str) -> tuple[str, str]:
    if match := re.fullmatch(r"(/.*?)(?::(\d+))?", word):  # a socket, whose folder may have colons
        return match[1], match[2] or ""
    if match := re.fullmatch(r"\[([^\]]+)\](?::(.*))?|([^:]*:[^:]*:.*)|([\w.-]+)(?::(.*))?", word):
        bracketed, port, bare, name, its_port = match.groups()
        if name:
            return name, its_port or ""
        try:
            return str(ip_address(bracketed or bare)), port or ""
        except ValueError:
            pass
    raise ValueError(_NO_URL)


def _read_port(port: str) -> int:
    if not re.fullmatch(r"[0-9]{0,5}", port) or not 0 < int(port or _PORT) < 65536:
        raise ValueError(_NO_URL)
    return int(port or _PORT)


def _looks_pooled(hosts: tuple[tuple[str, int], ...]) -> bool:
    return any(port == _POOLER_PORT or _POOLER_HOST in host for host, port in hosts)


def _read_tls(options: Mapping[str, str]) -> dict[str, Any]:
    root, certificate, key = (options.get(name) or None for name in ("sslrootcert", "sslcert", "sslkey"))
    given = options.get("sslmode") or options.get("ssl")
    # libpq would not verify with the root certificate alone; naming one means that certificates must be verified.
    default = "prefer" if root is None else "verify-full" if root == _SYSTEM else "verify-ca"
    mode = _SSL_MODES.get(given.lower().replace("_", "-")) if given else default
    if mode is None:
        raise ValueError("sslmode must be disable, allow, prefer, require, verify-ca or verify-full")
    if root == _SYSTEM and mode != "verify-full":
        raise ValueError("sslrootcert=system needs sslmode=verify-full, as anybody has a certificate of these")
    if root is not None and mode == "require":
        mode = "verify-ca"
    if key is not None and certificate is None:
        raise ValueError("sslkey needs sslcert")
    if certificate is not None and mode in ("disable", "allow", "prefer"):
        raise ValueError("sslcert needs sslmode=require, verify-ca or verify-full")
    return {
        "sslmode": mode,
        "sslrootcert": None if root == _SYSTEM else root,
        "sslcert": certificate,
        "sslkey": key,
    }


def _read_attributes(given: str | None, *, number_of_hosts: int) -> SessionAttributes:
    """The service writes: of several hosts only the primary will do, unless the URL says otherwise."""
    if given is None:
        return "read-write" if number_of_hosts > 1 else "any"
    if given not in ("any", "read-write", "primary"):
        raise ValueError("target_session_attrs must be read-write, primary or any, because the service writes")
    return cast("SessionAttributes", given)


def _read_settings(options: Mapping[str, str]) -> dict[str, str]:
    settings: dict[str, str] = {}
    text = re.sub(r"(?<!\S)-c\s+", "-c", options.get("options", ""))
    for word in re.findall(r"(?:\\.|\S)+", text):
        match = re.fullmatch(r"(?:-c|--)([A-Za-z_][\w.-]*)=(.*)", word, re.DOTALL)
        if match:
            settings[match[1].replace("-", "_")] = re.sub(r"\\(.)", r"\1", match[2])
        # Neon and Supabase name the database's endpoint for clients that don't send the host in the TLS handshake.
        elif not re.match(r"(endpoint|project|reference)=", word):
            raise ValueError("options must be settings, such as options=-cstatement_timeout%3D5s")
    if "application_name" in options:
        settings["application_name"] = options["application_name"]
    return settings


def _read_seconds(text: str) -> int | None:
    if not re.fullmatch(r"-?[0-9]{1,6}", text):
        raise ValueError("option connect_timeout must be a number of seconds")
    return int(text) if int(text) > 0 else None


def _read_truth(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"option {name} must be true or false")
    return text.lower() == "true"


def normalize_postgresql_url(raw: str) -> URL:
    """Write a URL's meaning as one that SQLAlchemy can read, without what is ignored; raise ValueError as above."""
    target = read_target(raw)
    query: dict[str, str] = {}
    host, port = target.hosts[0]
    is_plain = len(target.hosts) == 1 and not host.startswith("/")
    if not is_plain:
        query["host"] = ",".join(host for host, _ in target.hosts)
        query["port"] = ",".join(str(port) for _, port in target.hosts)
    query["sslmode"] = target.sslmode
    for name in ("sslrootcert", "sslcert", "sslkey", "connect_timeout"):
        if (value := getattr(target, name)) is not None:
            query[name] = str(value)
    query["target_session_attrs"] = target.target_session_attrs
    if target.server_settings:
        escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in target.server_settings.items()}
        query["options"] = " ".join(f"-c {name}={value}" for name, value in escaped.items())
    if target.is_pooled_by_transaction != _looks_pooled(target.hosts):
        query["pgbouncer"] = str(target.is_pooled_by_transaction).lower()
    return URL.create(
        "postgresql+asyncpg",
        username=target.user,
        password=target.password,
        host=host if is_plain else None,
        port=port if is_plain and port != _PORT else None,
        database=target.database,
        query=query,
    )


def connect_arguments(target: Target) -> dict[str, Any]:
    """The arguments of ``asyncpg.connect()`` but for host and port, of which it takes one pair at a time.

    Raises:
        ValueError: A file of certificates can't be used.
    """
    return {
        "user": target.user,
        "password": target.password,
        "database": target.database,
        "ssl": tls_argument(target),
        "target_session_attrs": target.target_session_attrs,
        "server_settings": dict(target.server_settings),
        "timeout": target.connect_timeout,
    }


def tls_argument(target: Target) -> ssl.SSLContext | str | bool:
    """The argument ``ssl`` of ``asyncpg.connect()``; sockets need none, and ignore it.

    Raises:
        ValueError: A file of certificates can't be used.
    """
    if target.sslmode == "disable":
        return False
    if target.sslmode in ("allow", "prefer"):
        return target.sslmode  # asyncpg itself tries with and without TLS
    try:
        context = ssl.create_default_context(cafile=target.sslrootcert)
    except OSError:
        raise ValueError("sslrootcert must name a file of certificates") from None
    # As libpq: Python 3.13 would refuse authorities of providers that lack an extension.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.check_hostname = target.sslmode == "verify-full"
    if target.sslmode == "require":
        context.verify_mode = ssl.CERT_NONE
    if target.sslcert is not None:
        try:
            # Without a password OpenSSL would ask for one in the terminal.
            context.load_cert_chain(target.sslcert, target.sslkey, password="")
        except (OSError, ValueError):
            raise ValueError("sslcert and sslkey must name a certificate and its key without a password") from None
    return context
