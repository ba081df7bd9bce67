"""Settings: what may be set, what is refused in which words, and what is never shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.core.config.settings import Settings, load_settings
from app.core.config.sources import COUNTRY_SOURCE_NAMES

ROOT = Path(__file__).resolve().parents[3]
HUSH = "hush-hush"
PRODUCTION = "ENVIRONMENT=production"


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_environment_goes_before_the_file(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("PORT=9001\nHOST=0.0.0.0\nSOMETHING_ELSE=1\n")
    monkeypatch.setenv("PORT", "9002")

    settings = load_settings()

    assert (settings.host, settings.port) == ("0.0.0.0", 9002)


def test_empty_variables_count_as_unset(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.setenv(name.upper(), "")

    assert load_settings().model_dump() == Settings().model_dump()
    assert load_settings().admin_api_key is None


def test_chains_and_origins_are_separated_by_any_white_space(monkeypatch):
    monkeypatch.setenv("COUNTRY_SOURCES", "  https://a.example/x?fields=a,b,c   bundled\n")
    monkeypatch.setenv("RATE_SOURCES", "http://10.0.0.5:8080/latest\tbundled")
    monkeypatch.setenv("CORS_ORIGINS", "https://a.example https://b.example")

    settings = load_settings()

    assert settings.country_sources == ("https://a.example/x?fields=a,b,c", "bundled")
    assert settings.rate_sources == ("http://10.0.0.5:8080/latest", "bundled")
    assert settings.cors_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("origin", "sent"),
    [
        ("https://App.Example", "https://app.example"),
        ("HTTPS://app.example:443", "https://app.example"),
        ("http://x:80", "http://x"),
        ("http://x:443", "http://x:443"),
        ("http://localhost:03000", "http://localhost:3000"),
        ("https://München.example", "https://xn--mnchen-3ya.example"),
        ("http://[0:0:0:0:0:0:0:1]:8080", "http://[::1]:8080"),
    ],
)
def test_origin_is_taken_in_the_spelling_of_browsers(origin, sent):
    assert load_settings(cors_origins=origin).cors_origins == (sent,)


NO_ORIGIN = "must be * alone, or origins such as https://example.com, separated by spaces"


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "app.example",
            "null",
            "ftp://a.example",
            "https://a.example/",
            "https://a.example/page",
            "https://a.example?x",
        ),
        *("https://a.example#x", "https://user@a.example", "https://*.example", "https://a.example,https://b.example"),
        *("https://", "https://:443", "https://a:0", "https://a:65536", "https://[::1", "https://[x]", "https://%41"),
        *("https://127.1", "https://1.2.3.400", "https://a|b", "* https://a.example"),
    ],
)
def test_origin_that_no_browser_sends_is_refused(origin):
    with pytest.raises(SystemExit) as stop:
        load_settings(cors_origins=origin)

    assert stop.value.code == f"Wrong setting: CORS_ORIGINS: {NO_ORIGIN}"


def test_level_is_taken_in_any_case(monkeypatch):
    monkeypatch.setenv("LOG_LEVEL", "debug")

    assert load_settings().log_level == "DEBUG"


KNOWN = ", ".join(COUNTRY_SOURCE_NAMES)
SCHEMES = "mysql://, mariadb://, postgresql:// or sqlite://"
MODES = "DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"
NO_URL = "is not a database URL; use postgresql://user:password@host/name, mysql://user:password@host/name or sqlite:///file.db"
WRONG = [
    ("PORT", "eighty", "must be a whole number"),
    ("PORT", "65536", "must be at most 65535"),
    ("WEB_CONCURRENCY", "0", "must be at least 1"),
    ("DB_TIMEOUT_SECONDS", "0", "must be more than 0"),
    ("DB_TIMEOUT_SECONDS", "nan", "must be at most 300"),
    ("UPSTREAM_TIMEOUT_SECONDS", "26", "must be at most 25"),
    ("REFRESH_INTERVAL_MINUTES", "-1", "must be at least 0"),
    ("REFRESH_INTERVAL_MINUTES", "inf", "must be at most 525600"),
    ("MAX_BODY_BYTES", "8MB", "must be a whole number"),
    ("ENVIRONMENT", "prod", "must be one of: development, production"),
    ("ENVIRONMENT", "Production", "must be one of: development, production"),
    ("REFRESH_ON_START", "yes", "must be one of: never, if-empty, always"),
    ("LOG_LEVEL", "loud", "must be one of: DEBUG, INFO, WARNING, ERROR"),
    ("COUNTRY_SOURCES", "bundeld", f"'bundeld' is neither an http(s) URL nor one of: {KNOWN}"),
    ("COUNTRY_SOURCES", " ", "names no source"),
    ("COUNTRY_SOURCES", f"bundled ftp://u:{HUSH}@host/x", f"entry 2 is neither an http(s) URL nor one of: {KNOWN}"),
    ("COUNTRY_SOURCES", f"http://u:{HUSH}@host:99999/", f"entry 1 is neither an http(s) URL nor one of: {KNOWN}"),
    ("COUNTRY_SOURCES", f"host/?key={HUSH}", f"entry 1 is neither an http(s) URL nor one of: {KNOWN}"),
    ("COUNTRY_SOURCES", f"http://[{HUSH}/", f"entry 1 is neither an http(s) URL nor one of: {KNOWN}"),
    ("RATE_SOURCES", "https://{key}.example/latest", "{key} may be only in the path or query of a URL"),
    ("RATE_SOURCES", "https://u:{key}@a.example/latest", "{key} may be only in the path or query of a URL"),
    ("RATE_API_KEY", f"{HUSH} {HUSH}", "must be ASCII characters without white space"),
    ("ALLOW_ANONYMOUS", "everything", "must be one of: refresh, countries, all"),
    ("PUBLIC_URL", "data.example.com", "must be an http:// or https:// URL without a user name"),
    ("PUBLIC_URL", "https://user:word@data.example.com", "must be an http:// or https:// URL without a user name"),
    ("RESTCOUNTRIES_URL", "api.example", "must be an http:// or https:// URL"),
    ("RESTCOUNTRIES_URL", "https://[::1", "must be an http:// or https:// URL"),
    ("RESTCOUNTRIES_API_KEY", f"{HUSH}–", "has characters that no HTTP header can carry"),
    ("DATABASE_URL", f"root:{HUSH}@host", NO_URL),
    ("DATABASE_URL", f"mysql://user:p@x:{HUSH}@host/db", NO_URL),
    ("DATABASE_URL", f"mysql://user:p@{HUSH}@host/db", "has an @ in its user or password; write it as %40"),
    ("DATABASE_URL", f"mysql://user:{HUSH}@host:port/db", NO_URL),
    ("DATABASE_URL", f"mysql://u:{HUSH}@h/db?ssl-ca=/no/file", "ssl-ca must name a file of certificates"),
    ("DATABASE_URL", f"mysql://u:{HUSH}@h/db?ssl-ca=/dev/null", "ssl-ca must name a file of certificates"),
    ("DATABASE_URL", f"mysql://user:{HUSH}@host", "names no database; write mysql://user:password@host/name"),
    ("DATABASE_URL", f"postgresql://user:p@{HUSH}@host/db", "has an @ in its user or password; write it as %40"),
    ("DATABASE_URL", f"postgres://u:{HUSH}@h/db?sslrootcert=/no/file", "sslrootcert must name a file of certificates"),
    ("DATABASE_ENGINE", "oracle", "must be one of: mysql, mariadb, postgresql, sqlite"),
    ("DATABASE_HOSTNAME", "db:3306", "must be one name or address; write sockets and several hosts into DATABASE_URL"),
    ("DATABASE_PORT", "0", "must be at least 1"),
    ("DATABASE_URL", f"oracle://user:{HUSH}@host/db", f"scheme oracle:// is not supported; use {SCHEMES}"),
    ("DATABASE_URL", f"mysql://user:{HUSH}@host/db?ssl-mode=maybe", f"ssl-mode maybe is not supported; use {MODES}"),
]


@pytest.mark.parametrize(("name", "value", "message"), WRONG)
def test_wrong_setting_stops_the_start_with_one_line_that_names_it(monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as stop:
        load_settings()

    assert stop.value.code == f"Wrong setting: {name}: {message}"
    assert HUSH not in str(stop.value)


@pytest.mark.parametrize("address", ["https://a.example/{key}/latest", "https://a.example/latest?app_id={key}"])
def test_placeholder_for_the_key_of_a_rate_source_needs_the_key(monkeypatch, address):
    monkeypatch.setenv("RATE_SOURCES", f"currency-api {address}")

    with pytest.raises(SystemExit) as stop:
        load_settings()
    monkeypatch.setenv("RATE_API_KEY", HUSH)

    assert stop.value.code == "Wrong setting: RATE_API_KEY: is required by {key} in RATE_SOURCES"
    assert load_settings().rate_sources == ("currency-api", address)


def test_source_whose_terms_forbid_services_like_this_is_asked_only_where_it_is_named():
    assert load_settings().rate_sources == ("currency-api", "frankfurter")
    assert load_settings(rate_sources="open.er-api.com").rate_sources == ("open.er-api.com",)


def test_several_wrong_settings_are_one_line_each(monkeypatch):
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("LOG_FORMAT", "xml")

    with pytest.raises(SystemExit) as stop:
        load_settings()

    assert [line.split(": ")[1] for line in str(stop.value.code).splitlines()] == ["PORT", "LOG_FORMAT"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", f"is required when {PRODUCTION}"),
        ("k" * 15, f"must have at least 16 characters when {PRODUCTION}; openssl rand -hex 32 makes a good one"),
    ],
)
def test_production_needs_a_key_that_can_not_be_guessed(monkeypatch, key, message):
    monkeypatch.setenv("ADMIN_API_KEY", key)
    assert load_settings().environment == "development"
    monkeypatch.setenv("ENVIRONMENT", "production")

    with pytest.raises(SystemExit) as stop:
        load_settings()
    monkeypatch.setenv("ADMIN_API_KEY", "k" * 16)

    assert stop.value.code == f"Wrong setting: ADMIN_API_KEY: {message}"
    assert load_settings().environment == "production"


@pytest.mark.parametrize(("opened", "starts"), [("refresh", False), ("countries", False), ("all", True)])
def test_production_starts_without_a_key_only_if_everything_is_open(monkeypatch, opened, starts):
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("ALLOW_ANONYMOUS", opened)
    if starts:
        assert load_settings().admin_api_key is None
    else:
        with pytest.raises(SystemExit, match="ADMIN_API_KEY: is required"):
            load_settings()


@pytest.mark.parametrize("key", ["", " ", f"{'k' * 20} ", f"{'k' * 20}\n", f"\t{'k' * 20}", "two\nlines", "a\0b"])
def test_key_that_no_request_can_carry_is_refused(key):
    with pytest.raises(ValidationError, match="must be one line without white space around it"):
        Settings(_env_file=None, admin_api_key=key)


def run_app(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "COLUMNS": "300"}
    command, variables = [sys.executable, "-m", "app", *arguments], {**clean, **environment}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def show_config(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_app(folder, "show-config", **environment)


ELSEWHERE = {
    "UTF-16 as PowerShell writes it": "PORT=9001\r\n".encode("utf-16"),
    "UTF-16 without a byte order mark": "PORT=9001\r\n".encode("utf-16-le"),
    "CP1252": "PORT=9001\n# für Köln\n".encode("cp1252"),
}


@pytest.mark.parametrize("content", ELSEWHERE.values(), ids=ELSEWHERE)
def test_file_in_another_encoding_stops_the_start_with_one_line_that_names_it(tmp_path, content):
    (tmp_path / ".env").write_bytes(content)

    with pytest.raises(SystemExit) as stop:
        load_settings()

    assert stop.value.code == (
        f"Wrong setting: {tmp_path}/.env: must be saved as UTF-8; it has another encoding, such as UTF-16"
    )


@pytest.mark.parametrize("command", ["serve", "doctor", "migrate", "refresh"])
def test_every_command_says_in_one_line_that_the_file_must_be_utf8(tmp_path, command):
    (tmp_path / ".env").write_bytes("PORT=9001\r\n".encode("utf-16"))
    run = run_app(tmp_path, command)

    (line,) = f"{run.stdout}{run.stderr}".splitlines()
    assert run.returncode == 1
    assert f"{tmp_path}/.env: must be saved as UTF-8" in line


def test_byte_order_mark_before_utf8_is_ignored(tmp_path):
    (tmp_path / ".env").write_bytes("PORT=9001\r\nHOST=::1\r\n".encode("utf-8-sig"))

    settings = load_settings()

    assert (settings.host, settings.port) == ("::1", 9001)


def test_wrong_setting_is_one_line_on_standard_error_without_a_traceback(tmp_path):
    run = show_config(tmp_path, PORT=f"1{HUSH}")

    message = "must be a whole number"
    assert (run.returncode, run.stdout, run.stderr) == (1, "", f"Wrong setting: PORT: {message}\n")


def test_show_config_masks_every_secret(tmp_path):
    (tmp_path / ".env").write_text(f"ADMIN_API_KEY={HUSH}1\nRESTCOUNTRIES_API_KEY={HUSH}2\nRATE_API_KEY={HUSH}0\n")
    run = show_config(
        tmp_path,
        DATABASE_URL=f"mysql://user:{HUSH}3@db.example/name",
        COUNTRY_SOURCES=f"https://user:{HUSH}4@a.example/list?key={HUSH}5#{HUSH}6 bundled",
        RATE_SOURCES=f"https://c.example/{{key}}/latest https://d.example/latest?app_id={HUSH}",
        RESTCOUNTRIES_URL=f"https://user:{HUSH}7@b.example/v5?key={HUSH}8",
        RATE_LIMIT_STORAGE=f"redis://user:{HUSH}9@store.example:6379/0",
    )

    shown = dict(line.split(maxsplit=1) for line in run.stdout.splitlines() if len(line.split()) > 1)
    assert run.returncode == 0
    assert HUSH not in run.stdout + run.stderr
    assert shown["DATABASE_URL"].strip() == "mysql+aiomysql://user:***@db.example/name?charset=utf8mb4"
    assert shown["COUNTRY_SOURCES"].strip() == "https://a.example/list bundled"
    assert shown["RATE_SOURCES"].strip() == "https://c.example/{key}/latest https://d.example/latest"
    assert shown["RATE_LIMIT_STORAGE"].strip() == "redis://store.example:6379/0"
    assert shown["RESTCOUNTRIES_URL"].strip() == "https://b.example/v5"
    keys = ("ADMIN_API_KEY", "RESTCOUNTRIES_API_KEY", "RATE_API_KEY")
    assert {shown[name].strip() for name in keys} == {"**********"}
    assert {name.upper() for name in Settings.model_fields} <= {line.split()[0] for line in run.stdout.splitlines()}
