"""Database URLs as providers hand them out, and the TLS that they ask for."""

import re
import ssl
from urllib.parse import quote

import pytest

from app.core.config.database_url import normalize_database_url, requires_tls
from app.core.config.postgresql_url import read_target
from app.core.db.dialects.mysql import connect_arguments
from tests.support.certificate import Authority

UTF8 = "charset=utf8mb4"
URLS = {
    "mysql://u:p@h:3307/db": f"mysql+aiomysql://u:p@h:3307/db?{UTF8}",
    "mariadb://u:p@h/db": f"mysql+aiomysql://u:p@h/db?{UTF8}",
    "mysql+aiomysql://u:p@h/db": f"mysql+aiomysql://u:p@h/db?{UTF8}",
    "mysql+asyncmy://u:p@h/db": f"mysql+asyncmy://u:p@h/db?{UTF8}",
    "mariadb+aiomysql://u:p@h/db": f"mysql+aiomysql://u:p@h/db?{UTF8}",
    "mariadb+asyncmy://u:p@h/db": f"mysql+asyncmy://u:p@h/db?{UTF8}",
    "  mysql://u:p@h/db\n": f"mysql+aiomysql://u:p@h/db?{UTF8}",
    "mysql://h/db": f"mysql+aiomysql://h/db?{UTF8}",
    "mysql://u@[::1]:3306/db": f"mysql+aiomysql://u@[::1]:3306/db?{UTF8}",
    "mysql://u:p@h/db?charset=latin1": "mysql+aiomysql://u:p@h/db?charset=latin1",
    "mysql://u:p@h/db?charset=utf8mb4": f"mysql+aiomysql://u:p@h/db?{UTF8}",
    "mysql://h/db?connect_timeout=3": f"mysql+aiomysql://h/db?{UTF8}&connect_timeout=3",
    "mysql://u@/db?unix_socket=/run/my.sock": f"mysql+aiomysql://u@/db?{UTF8}&unix_socket=%2Frun%2Fmy.sock",
    "mysql://u:p%40%2F%25%2B@h/db?sslmode=verify-full&sslrootcert=/ca": "mysql+aiomysql://u:p%40%2F%25+@h/db?"
    f"{UTF8}&ssl_ca=%2Fca&ssl_mode=verify_identity",
    **dict.fromkeys(
        [f"mysql://h/db?{name}=/etc/my%20ca.pem" for name in ("ssl-ca", "ssl_ca", "sslrootcert")],
        f"mysql+aiomysql://h/db?{UTF8}&ssl_ca=%2Fetc%2Fmy+ca.pem&ssl_mode=verify_ca",
    ),
    "sqlite:///data/x.db": "sqlite+aiosqlite:///data/x.db",
    "sqlite:////var/x.db": "sqlite+aiosqlite:////var/x.db",
    "sqlite+aiosqlite:///x.db": "sqlite+aiosqlite:///x.db",
}
MODES = {
    "disabled": ["DISABLED", "disabled", "disable", "false"],
    "preferred": ["PREFERRED", "prefer", "allow"],
    "required": ["REQUIRED", "Required", "require", "true"],
    "verify_ca": ["VERIFY_CA", "verify-ca", "Verify_Ca"],
    "verify_identity": ["VERIFY_IDENTITY", "verify-identity", "verify-full", "VERIFY_FULL"],
}
NAMES = ["ssl-mode", "sslmode", "ssl_mode", "ssl"]


def text(url: str) -> str:
    return normalize_database_url(url).render_as_string(hide_password=False)


@pytest.mark.parametrize("given", URLS)
def test_url_gets_an_asynchronous_driver_and_for_mysql_a_charset_once(given):
    assert text(given) == text(text(given)) == URLS[given]


@pytest.mark.parametrize("name", NAMES)
def test_every_spelling_of_the_tls_mode_is_understood(name):
    found = {
        mode: {normalize_database_url(f"mysql://h/db?{name}={given}").query["ssl_mode"] for given in spellings}
        for mode, spellings in MODES.items()
    }

    assert found == {mode: {mode} for mode in MODES}


PASSWORDS = ["p@ss", "a/b", "a+b", "100%", "a:b", "a?b#c", "a b", "pässwörd", "密码", "%40", "a&b=c", "'\"\\", "[x]"]


@pytest.mark.parametrize("password", PASSWORDS)
def test_user_and_password_arrive_character_by_character(password):
    encoded = quote(password, safe="")

    url = normalize_database_url(f"mysql://{encoded}:{encoded}@h/db?ssl-mode=REQUIRED")
    bare, _ = connect_arguments(url)

    assert (url.username, url.password, url.host, url.database) == (password, password, "h", "db")
    assert (bare.username, bare.password) == (password, password)


@pytest.mark.parametrize("password", PASSWORDS)
def test_user_and_password_for_postgresql_arrive_character_by_character(password):
    encoded = quote(password, safe="")

    url = normalize_database_url(f"postgres://{encoded}:{encoded}@h1,h2:5433/db")
    target = read_target(url.render_as_string(hide_password=False))

    assert (target.user, target.password, target.hosts) == (password, password, (("h1", 5432), ("h2", 5433)))


def test_password_keeps_its_plus_and_is_hidden_where_a_url_is_shown():
    url = normalize_database_url("mysql://u:hush+b@h/db")

    assert (url.password, "hush" in str(url)) == ("hush+b", False)


TLS_MODES = "DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"
SCHEMES = "mysql://, mariadb://, postgresql:// or sqlite://"
NO_FILE = "names no file; write sqlite:///countries.db, with a fourth slash for an absolute path"
NO_URL = "is not a database URL; use postgresql://user:password@host/name, mysql://user:password@host/name or sqlite:///file.db"
KNOWN = "supported are ssl-mode, ssl-ca, charset, unix_socket, connect_timeout, init_command, read_timeout, sql_mode"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mysql://h/db?ssl-mod=REQUIRED", f"option ssl-mod is not supported; {KNOWN}"),
        ("mysql://h/db?local_infile=1", f"option local_infile is not supported; {KNOWN}"),
        ("mysql://h/db?ssl-mode=VERIFY", f"ssl-mode VERIFY is not supported; use {TLS_MODES}"),
        ("mysql://u:p@h", "names no database; write mysql://user:password@host/name"),
        ("mysql://u:p@h/", "names no database; write mysql://user:password@host/name"),
        ("mysql://h/db?connect_timeout=soon", "option connect_timeout must be a number of seconds"),
        ("postgresql+psycopg://h/db", f"scheme postgresql+psycopg:// is not supported; use {SCHEMES}"),
        ("localhost", NO_URL),
        ("sqlite://", NO_FILE),
        ("sqlite:///", NO_FILE),
        ("sqlite:///:memory:", NO_FILE),
        ("mysql+pymysql://h/db", f"scheme mysql+pymysql:// is not supported; use {SCHEMES}"),
    ],
)
def test_what_is_not_supported_is_named(given, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        normalize_database_url(given)


@pytest.mark.parametrize(
    ("query", "context", "must"),
    [
        ("", None, False),
        ("?ssl-mode=DISABLED", None, False),
        ("?ssl-mode=PREFERRED", (ssl.CERT_NONE, False), False),
        ("?ssl-mode=REQUIRED", (ssl.CERT_NONE, False), True),
        ("?ssl-mode=VERIFY_CA", (ssl.CERT_REQUIRED, False), True),
        ("?ssl-mode=VERIFY_IDENTITY", (ssl.CERT_REQUIRED, True), True),
    ],
)
def test_tls_mode_becomes_a_context_of_the_same_meaning(query, context, must):
    url = normalize_database_url(f"mysql://u:p@h/db{query}")

    bare, arguments = connect_arguments(url)

    assert dict(bare.query) == {"charset": "utf8mb4"}
    assert [(tls.verify_mode, tls.check_hostname) for tls in arguments.values()] == ([context] if context else [])
    assert requires_tls(url) is must


def test_named_authority_is_the_only_one_that_is_trusted(tmp_path):
    certificate = Authority(tmp_path, "authority").file
    url = normalize_database_url(f"mysql://u:p@h/db?ssl-mode=VERIFY_IDENTITY&ssl-ca={certificate}")

    bare, arguments = connect_arguments(url)

    assert dict(bare.query) == {"charset": "utf8mb4"}
    assert arguments["ssl"].cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}
