"""PostgreSQL URLs as providers print them, tried against a real server with TLS."""

import os
import re
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.core.config.database_url import check_database_url, normalize_database_url
from app.core.config.postgresql_url import Target, connect_arguments, read_target, tls_argument
from app.core.db.database import create_engine
from tests.conftest import make_settings, serving
from tests.support.certificate import Authority
from tests.support.mariadb import free_port

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
ACCESS = """
local all all trust
hostnossl all only_plain 127.0.0.1/32 scram-sha-256
host all only_plain 127.0.0.1/32 reject
hostssl all only_tls 127.0.0.1/32 scram-sha-256
hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
host all only_tls,certified 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
"""


@dataclass(frozen=True)
class Server:
    """A server that asks for passwords, and offers a certificate for 127.0.0.1."""

    folder: Path
    port: int
    authority: Authority
    stranger: Authority
    certificate: Path
    key: Path
    """Of a client."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if PROGRAMS is None:
        pytest.skip("PostgreSQL is not installed")
    folder, port = Path(tempfile.mkdtemp(prefix="postgresql-tls-")), free_port()
    authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
    certificate, key = authority.sign("server")
    key.chmod(0o600)
    if AS_POSTGRES:
        shutil.chown(folder, "postgres", "postgres")
        shutil.chown(key, "postgres", "postgres")
    initdb = [f"{PROGRAMS}/initdb", "-D", f"{folder}/data", "-U", "postgres", "--auth=trust", "--no-sync"]
    subprocess.run([*AS_POSTGRES, *initdb], check=True, capture_output=True, cwd=folder)
    (folder / "data/pg_hba.conf").write_text(ACCESS)
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": folder,
        "fsync": "off",
        "ssl": "on",
        "ssl_cert_file": certificate,
        "ssl_key_file": key,
        "ssl_ca_file": authority.file,
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    control = [*AS_POSTGRES, f"{PROGRAMS}/pg_ctl", "-D", f"{folder}/data", "-w"]
    subprocess.run(
        [*control, "-l", f"{folder}/log", "-o", options, "start"], check=True, cwd=folder, stdout=subprocess.DEVNULL
    )
    try:
        yield Server(folder, port, authority, stranger, *authority.sign("client"))
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, cwd=folder, stdout=subprocess.DEVNULL)
        shutil.rmtree(folder)


async def add_users(server: Server, passwords: dict[str, str]) -> None:
    console = await asyncpg.connect(host=str(server.folder), port=server.port, user="postgres", database="postgres")
    for user, password in passwords.items():
        command = "ALTER" if user == "postgres" else "CREATE"
        await console.execute(f"""{command} ROLE "{user}" LOGIN PASSWORD '{password.replace("'", "''")}'""")
    await console.close()


async def connect(target: Target) -> asyncpg.Connection:
    """Connect to the first host that answers."""
    for host, port in target.hosts:
        with suppress(ConnectionRefusedError):
            return await asyncpg.connect(host=host, port=port, **connect_arguments(target))
    raise ConnectionRefusedError


PASSWORD = "AbC0123456789xyz"
CONNECTING: dict[str, tuple[Any, ...]] = {
    # URL, then whether its session is encrypted, user and database, and what else it says.
    "Railway, private network": (
        f"postgresql://postgres:{PASSWORD}@postgres.railway.internal:5432/railway",
        *(True, "postgres", "railway", {}),
    ),
    "Railway, public network": (
        f"postgresql://postgres:{PASSWORD}@roundhouse.proxy.rlwy.net:41234/railway",
        *(True, "postgres", "railway", {"hosts": (("roundhouse.proxy.rlwy.net", 41234),)}),
    ),
    "Heroku": (
        f"postgres://u8kq3d:{PASSWORD}@ec2-54-1-2-3.compute-1.amazonaws.com:5432/d4abc7",
        *(True, "u8kq3d", "d4abc7", {}),
    ),
    "Heroku, for Node": (
        f"postgres://u8kq3d:{PASSWORD}@ec2-54-1-2-3.compute-1.amazonaws.com:5432/d4abc7?sslmode=no-verify",
        *(True, "u8kq3d", "d4abc7", {"sslmode": "require"}),
    ),
    "Neon, pooled": (
        f"postgresql://neondb_owner:{PASSWORD}@ep-cool-sun-a1b2c3d4-pooler.us-east-2.aws.neon.tech/neondb"
        "?sslmode=require&channel_binding=require",
        *(True, "neondb_owner", "neondb", {"is_pooled_by_transaction": True, "ignored": ("channel_binding",)}),
    ),
    "Neon, direct, with its endpoint": (
        f"postgresql://neondb_owner:{PASSWORD}@ep-cool-sun-a1b2c3d4.us-east-2.aws.neon.tech/neondb"
        "?sslmode=verify-full&sslrootcert=system&options=endpoint%3Dep-cool-sun-a1b2c3d4",
        *(True, "neondb_owner", "neondb", {"sslmode": "verify-full", "is_pooled_by_transaction": False}),
    ),
    "Supabase, direct": (
        f"postgresql://postgres:{PASSWORD}@db.abcdefghijklmnop.supabase.co:5432/postgres",
        *(True, "postgres", "postgres", {}),
    ),
    "Supabase, session pooler": (
        f"postgres://postgres.abcdefghijklmnop:{PASSWORD}@aws-0-eu-central-1.pooler.supabase.com:5432/postgres",
        *(True, "postgres.abcdefghijklmnop", "postgres", {"is_pooled_by_transaction": False}),
    ),
    "Supabase, transaction pooler": (
        f"postgres://postgres.abcdefghijklmnop:{PASSWORD}@aws-0-eu-central-1.pooler.supabase.com:6543/postgres"
        "?pgbouncer=true&connection_limit=1",
        *(True, "postgres.abcdefghijklmnop", "postgres", {"is_pooled_by_transaction": True}),
    ),
    "Supabase, from Vercel": (
        f"postgres://postgres.abcdefghijklmnop:{PASSWORD}@aws-0-us-east-1.pooler.supabase.com:6543/postgres"
        "?sslmode=require&supa=base-pooler.x",
        *(True, "postgres.abcdefghijklmnop", "postgres", {"is_pooled_by_transaction": True, "ignored": ("supa",)}),
    ),
    "Render": (
        f"postgresql://countries_user:{PASSWORD}@dpg-cabc-a.oregon-postgres.render.com/countries_db",
        *(True, "countries_user", "countries_db", {"hosts": (("dpg-cabc-a.oregon-postgres.render.com", 5432),)}),
    ),
    "Fly": (
        f"postgres://postgres:{PASSWORD}@countries-db.flycast:5432/countries?sslmode=disable",
        *(False, "postgres", "countries", {}),
    ),
    "DigitalOcean": (
        f"postgresql://doadmin:{PASSWORD}@db-postgresql-fra1.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
        *(True, "doadmin", "defaultdb", {}),
    ),
    "Aiven, with its authority": (
        f"postgres://avnadmin:{PASSWORD}@pg-1a2b.aivencloud.com:21699/defaultdb?sslmode=require&sslrootcert=CA",
        *(True, "avnadmin", "defaultdb", {"sslmode": "verify-ca"}),
    ),
    "AWS RDS, with a password of signs": (
        "postgresql://app:p%40s%2Fs%3Aw%25rd+%20%E5%AF%86'@my.abc.eu-west-1.rds.amazonaws.com:5432/app"
        "?sslmode=verify-full&sslrootcert=CA",
        *(True, "app", "app", {"password": "p@s/s:w%rd+ 密'"}),
    ),
    "Azure, with the server in the user": (
        f"postgres://admin%40server:{PASSWORD}@server.postgres.database.azure.com/postgres?sslmode=require",
        *(True, "admin@server", "postgres", {}),
    ),
    "Google Cloud SQL": (
        f"postgresql://cloud:{PASSWORD}@/countries?host=/cloudsql/project:region:instance",
        *(None, "cloud", "countries", {"hosts": (("/cloudsql/project:region:instance", 5432),)}),
    ),
    "Prisma": (
        f"postgresql://prisma:{PASSWORD}@localhost:5432/countries?schema=public&connection_limit=5&pool_timeout=10",
        *(True, "prisma", "countries", {"ignored": ("schema", "connection_limit", "pool_timeout")}),
    ),
    "libpq, a primary and a standby": (
        f"postgresql://libpq:{PASSWORD}@one.example,two.example:5433/countries"
        "?target_session_attrs=primary&connect_timeout=3",
        *(True, "libpq", "countries", {"hosts": (("one.example", 5432), ("two.example", 5433))}),
    ),
    "libpq, everything in the query": (
        f"postgresql:///?host=one.example,fe80::1&port=5433,&dbname=countries&user=libpq&password={PASSWORD}",
        *(True, "libpq", "countries", {"hosts": (("one.example", 5433), ("fe80::1", 5432))}),
    ),
    "libpq, settings of the session": (
        f"postgresql://libpq:{PASSWORD}@[2001:db8::1234]/countries?application_name=my%20app"
        "&options=-c%20statement_timeout%3D5s%20--lock-timeout=2s%20-csearch_path=a,\\%20b",
        *(True, "libpq", "countries", {"hosts": (("2001:db8::1234", 5432),)}),
    ),
    "SQLAlchemy, several hosts": (
        f"postgresql+asyncpg://alchemy:{PASSWORD}@/countries?host=one.example:5432&host=two.example:5433&ssl=require",
        *(True, "alchemy", "countries", {"hosts": (("one.example", 5432), ("two.example", 5433))}),
    ),
}


async def test_urls_of_providers_connect(server, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(server.authority.file))  # the authorities of the system
    targets = {name: read_target(row[0].replace("CA", str(server.authority.file))) for name, row in CONNECTING.items()}
    await add_users(server, {str(target.user): str(target.password) for target in targets.values()})
    found = {}
    for name, target in targets.items():
        number = len(target.hosts)
        local = (
            [(str(server.folder), server.port)] if target.hosts[0][0].startswith("/") else [("127.0.0.1", 1)] * number
        )
        local[-1] = (local[-1][0], server.port)
        session = await connect(replace(target, hosts=tuple(local), database="postgres"))
        encrypted = await session.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        is_socket = await session.fetchval("SELECT inet_server_addr() IS NULL")
        user = await session.fetchval("SELECT current_user")
        if target.server_settings:
            names = ("statement_timeout", "lock_timeout", "search_path", "application_name")
            shown = [await session.fetchval(f"SHOW {setting}") for setting in names]
            assert shown == ["5s", "2s", "a, b", "my app"]
        session.terminate()
        others = {field: getattr(target, field) for field in CONNECTING[name][4]}
        found[name] = (None if is_socket else encrypted, user, target.database, others)

    assert found == {name: row[1:] for name, row in CONNECTING.items()}


FORM = "postgresql://user:password@host/name"
NO_URL = f"is not a database URL; use {FORM}, with reserved characters in user and password such as @ as %40"
USED = (
    "application_name, connect_timeout, dbname, host, options, password, pgbouncer, port, ssl, sslcert, sslkey, "
    "sslmode, sslrootcert, target_session_attrs, user"
)
REFUSED = {
    "postgresql://postgres:[YOUR-PASSWORD]@db.abc.supabase.co:5432/postgres": (
        "has the placeholder [YOUR-PASSWORD]; write the password in its place"
    ),
    "postgresql://app:hush@hush@host/name": "has an @ in its user or password; write it as %40",
    "postgresql://app:hush/hush@host/name": NO_URL,
    "postgresql://app:12/hush@host/name": NO_URL,
    "postgresql://app:12?hush=hush@host/name": NO_URL,
    "postgresql://app:hush#hush@host/name": NO_URL,
    "postgresql://app:hush:hush": NO_URL,
    "postgresql://app:hush%ff@host/name": "has a percent escape that is not UTF-8",
    "postgresql://app:hush%00@host/name": "has the character NUL",
    "postgresql://app:hush@host:65536/name": NO_URL,
    "postgresql://:hush@host/name": f"has a password but no user; write {FORM}",
    "postgresql://app:hush@host": f"names no database; write {FORM}",
    "postgresql:///name": f"names no host; write {FORM}, or ?host=/var/run/postgresql for a socket",
    "postgresql://a,b,c/name?port=1,2": (
        "has another number of ports than of hosts; name one port, or one for each host"
    ),
    "postgresql://h/name?sslmode=maybe": "sslmode must be disable, allow, prefer, require, verify-ca or verify-full",
    "postgresql://h/name?sslmode=require&sslrootcert=system": (
        "sslrootcert=system needs sslmode=verify-full, as anybody has a certificate of these"
    ),
    "postgresql://h/name?sslmode=prefer&sslcert=a&sslkey=b": "sslcert needs sslmode=require, verify-ca or verify-full",
    "postgresql://h/name?sslmode=require&sslkey=b": "sslkey needs sslcert",
    "postgresql://h/name?sslmode=verify-ca&sslrootcert=/no/file": "sslrootcert must name a file of certificates",
    "postgresql://h/name?sslmode=require&sslcert=/no/file": (
        "sslcert and sslkey must name a certificate and its key without a password"
    ),
    "postgresql://h/name?target_session_attrs=standby": (
        "target_session_attrs must be read-write, primary or any, because the service writes"
    ),
    "postgresql://h/name?options=-v": "options must be settings, such as options=-cstatement_timeout%3D5s",
    "postgresql://h/name?connect_timeout=soon": "option connect_timeout must be a number of seconds",
    "postgresql://h/name?pgbouncer=1": "option pgbouncer must be true or false",
    "postgresql://h/name?schema=app": (
        "option schema must be public: name another schema by options=-csearch_path%3DNAME"
    ),
    "postgresql://h/name?gssencmode=require": (
        "option gssencmode must be disable or prefer: encrypt by TLS, with sslmode=require"
    ),
    "postgresql://h/name?statement_cache_size=0": (
        "option statement_cache_size is not supported; write pgbouncer=true for a pooler in transaction mode"
    ),
    "postgresql://h/name?sslcrl=/crl": f"option sslcrl is not supported; supported are {USED}",
}


@pytest.mark.parametrize("url", REFUSED)
def test_url_that_would_mean_something_else_is_refused_with_what_to_change(url):
    with pytest.raises(ValueError, match=f"^{re.escape(REFUSED[url])}$") as refusal:
        check_database_url(url)

    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize("name", CONNECTING)
def test_normalised_url_means_the_same_and_hides_the_password(name):
    target = read_target(CONNECTING[name][0])

    url = normalize_database_url(CONNECTING[name][0])
    text = url.render_as_string(hide_password=False)

    assert read_target(text) == replace(target, ignored=())
    assert normalize_database_url(text) == url
    assert url.drivername == "postgresql+asyncpg"
    assert str(target.password) not in f"{url!s} {target!r}"


async def test_options_that_mean_nothing_are_named_in_one_line_at_the_start(sqlite_file, capsys):
    url = "postgresql://u:hush@127.0.0.1/name?sslmode=disable&channel_binding=require&schema=public"
    settings = make_settings(database_url=url, log_level="WARNING", refresh_on_start="never")
    engine = create_engine(make_settings(database_url=f"sqlite:///{sqlite_file}"))

    async with serving(settings, engine=engine):
        log = capsys.readouterr().err
    await engine.dispose()

    message = "DATABASE_URL: ignored, because they mean nothing to this service: channel_binding, schema\n"
    assert [line for line in log.splitlines(keepends=True) if "DATABASE_URL" in line and line.endswith(message)]
    assert log.count("DATABASE_URL") == 1


NOT_TRUSTED, WRONG_NAME, REJECTED = "certificate verify failed", "IP address mismatch|Hostname mismatch", "rejects"
MODES = [
    # User, host, query, then whether the session is encrypted or the reason why there is none.
    ("only_plain", "127.0.0.1", "sslmode=disable", False),
    ("only_tls", "127.0.0.1", "sslmode=disable", REJECTED),
    ("only_plain", "127.0.0.1", "sslmode=allow", False),
    ("only_tls", "127.0.0.1", "sslmode=allow", True),
    ("only_plain", "127.0.0.1", "sslmode=prefer", False),
    ("only_tls", "127.0.0.1", "", True),
    ("only_plain", "127.0.0.1", "sslmode=require", REJECTED),
    ("only_tls", "127.0.0.1", "sslmode=require", True),
    ("only_tls", "127.0.0.1", "sslmode=require&sslrootcert=CA", True),
    ("only_tls", "127.0.0.1", "sslmode=require&sslrootcert=STRANGER", NOT_TRUSTED),
    ("only_tls", "127.0.0.1", "sslrootcert=STRANGER", NOT_TRUSTED),
    ("only_tls", "localhost", "sslmode=verify-ca&sslrootcert=CA", True),
    ("only_tls", "127.0.0.1", "sslmode=verify-ca", NOT_TRUSTED),
    ("only_tls", "127.0.0.1", "sslmode=verify-full&sslrootcert=CA", True),
    ("only_tls", "localhost", "sslmode=verify-full&sslrootcert=CA", WRONG_NAME),
    ("certified", "127.0.0.1", "sslmode=require&sslcert=CERTIFICATE&sslkey=KEY", True),
    ("certified", "127.0.0.1", "sslmode=require", "requires a valid client certificate"),
]


async def test_each_tls_mode_means_what_libpq_says(server):
    await add_users(server, dict.fromkeys(("only_plain", "only_tls", "certified"), PASSWORD))
    files = {
        "STRANGER": server.stranger.file,
        "CERTIFICATE": server.certificate,
        "CA": server.authority.file,
        "KEY": server.key,
    }
    wrong = []
    for user, host, query, expected in MODES:
        named = re.sub(r"=([A-Z]+)", lambda match: f"={files[match[1]]}", query)
        target = read_target(f"postgresql://{user}:{PASSWORD}@{host}:{server.port}/postgres?{named}")
        try:
            session = await connect(target)
        except (asyncpg.InvalidAuthorizationSpecificationError, ssl.SSLCertVerificationError) as error:
            found = bool(isinstance(expected, str) and re.search(expected, str(error))) and expected
        else:
            found = await session.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            session.terminate()
        if found != expected:
            wrong.append((user, host, query, expected, found))

    assert wrong == []


def test_a_mode_that_verifies_trusts_only_the_named_authority(tmp_path):
    certificate = Authority(tmp_path, "authority").file

    context = tls_argument(read_target(f"postgresql://h/name?sslmode=verify-full&sslrootcert={certificate}"))

    assert isinstance(context, ssl.SSLContext)
    assert context.cert_store_stats() == {"x509": 1, "crl": 0, "x509_ca": 1}
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
