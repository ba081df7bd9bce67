"""The options in the query of a PostgreSQL URL: which are used, ignored or refused."""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import unquote

_USED: Final = frozenset(
    {
        *("host", "port", "dbname", "user", "password", "sslmode", "ssl", "sslrootcert", "sslcert", "sslkey"),
        *("target_session_attrs", "options", "application_name", "connect_timeout", "pgbouncer"),
    }
)
_IGNORED: Final = frozenset(
    {
        *("channel_binding", "fallback_application_name", "sslcompression", "sslnegotiation", "sslsni"),
        *("keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"),
        *("connection_limit", "pool_timeout", "socket_timeout", "supa", "uselibpqcompat", "workaround"),
    }
)
"""Options whose absence changes no answer. ``channel_binding`` is here because Neon prints it in every URL."""


class _Only(NamedTuple):
    values: tuple[str, ...]
    advice: str


_ONLY_AS: Final = {
    "client_encoding": _Only(("utf8", "utf-8", "auto"), "text is always sent as UTF-8"),
    "encoding": _Only(("utf8", "utf-8", "unicode"), "text is always sent as UTF-8"),
    "gssencmode": _Only(("disable", "prefer"), "encrypt by TLS, with sslmode=require"),
    "load_balance_hosts": _Only(("disable",), "hosts are tried in their order"),
    "schema": _Only(("public",), "name another schema by options=-csearch_path%3DNAME"),
    "ssl_min_protocol_version": _Only(("tlsv1", "tlsv1.1", "tlsv1.2"), "set a newer one on the server"),
}
"""Options that are ignored with these values, and would change a meaning with others."""
_INSTEAD: Final = {
    "hostaddr": "write the address as the host",
    "passfile": "write the password in the URL",
    "prepared_statements": "write pgbouncer=true for a pooler in transaction mode",
    "service": "write host, user and database in the URL",
    "sslaccept": "write sslmode=verify-full or sslmode=require",
    "statement_cache_size": "write pgbouncer=true for a pooler in transaction mode",
}


def decoded(text: str | None) -> str:
    """Resolve percent escapes; raise ValueError for what is not text."""
    try:
        plain = unquote(text or "", errors="strict")
    except UnicodeDecodeError:
        raise ValueError("has a percent escape that is not UTF-8") from None
    if "\0" in plain:
        raise ValueError("has the character NUL")
    return plain


def read_query(query: str) -> dict[str, str]:
    """The last value of each option; those of ``host``, which SQLAlchemy repeats, joined by commas."""
    options: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, _, value = pair.partition("=")
        # libpq keeps a plus, as passwords need it; forms, SQLAlchemy and Prisma mean a space.
        text = decoded(value if name in ("user", "password") else value.replace("+", " "))
        options[name] = f"{options[name]},{text}" if name == "host" and name in options else text
    return options


def refuse_unsupported(options: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the options to ignore; raise ValueError for one without which the URL would mean something else."""
    for name, value in options.items():
        if name in _ONLY_AS:
            values, advice = _ONLY_AS[name]
            if value.lower() not in values:
                raise ValueError(f"option {name} must be {' or '.join(values)}: {advice}")
        elif name not in _USED | _IGNORED:
            # Anything but a plain word may be a part of a password with a reserved character.
            shown = name if re.fullmatch(r"[a-z_]{1,40}", name) else "that is not a plain word"
            known = f"supported are {', '.join(sorted(_USED))}"
            raise ValueError(f"option {shown} is not supported; {_INSTEAD.get(name, known)}")
    return tuple(name for name in options if name not in _USED)
