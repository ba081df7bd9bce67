"""The command line, run as people run it: in a process of its own, in a folder of its own."""

import asyncio
import signal
import socket
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.app import cli
from app.core.db.migrations import head_revision
from app.sources.rates import bundled_quotes
from tests.conftest import COUNTRIES, RATES
from tests.support import payloads
from tests.support.command import start
from tests.support.mariadb import free_port
from tests.support.upstream import document, status

ROOT = Path(__file__).resolve().parents[2]


class Run(NamedTuple):
    code: int | None
    out: str
    err: str


@pytest.fixture
def run(tmp_path):
    """Runs ``python -m app`` with these settings and no others; the database is the default one, in its folder."""

    async def run(*arguments: str, typed: str = "", **settings: str) -> Run:
        process = await start(tmp_path, *arguments, **settings)
        out, err = await process.communicate(typed.encode())
        return Run(process.returncode, out.decode(), err.decode())

    return run


def run_here(*arguments: str, typed: str = "") -> Run:
    """The same for what ends before a setting is read, without a process of its own: that takes a second to start."""
    result = CliRunner().invoke(cli, arguments, input=typed, prog_name="python -m app")
    return Run(result.exit_code, result.stdout, result.stderr)


def stored(folder: Path, query: str) -> Any:
    with sqlite3.connect(folder / "data" / "countries.db") as connection:
        row = connection.execute(query).fetchone()
    connection.close()
    return row


def table(out: str) -> dict[str, str]:
    return {line[:11].strip(): line[11:].strip() for line in out.splitlines()}


async def test_help_names_every_command(run):
    bare, asked = run_here(), await run("--help")

    assert asked.code == 0
    assert asked.err == ""
    for words in (
        "countries",
        "export",
        "doctor",
        "The first minute: python -m app refresh",
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.",
        "serve",
        "migrate",
        "refresh",
        "create-admin",
        "show-config",
        "import-rates",
        "sms-batch",
        "Settings come from the environment and from .env.",
    ):
        assert words in " ".join(asked.out.split())
    assert (bare.code, bare.out.strip()) == (2, asked.out.strip())


async def test_migrate_builds_the_database_and_may_be_repeated(run, tmp_path):
    first = await run("migrate")
    again = await run("migrate")

    assert (first.code, first.out) == (again.code, again.out) == (0, "The database schema is up to date.\n")
    assert stored(tmp_path, "SELECT version_num FROM alembic_version") == (head_revision(),)
    assert stored(tmp_path, "SELECT count(*) FROM country") == (0,)


async def test_refresh_from_the_bundled_source_fills_a_new_database(run, tmp_path):
    result = await run("refresh", "--source", "bundled", LOG_LEVEL="WARNING")

    assert (result.code, result.err) == (0, "")
    shown = table(result.out)
    assert shown["Countries"] == "250 (250 new, 0 updated)"
    assert shown["Sources"] == "countries from bundled, rates from bundled"
    assert shown["Rates of"] == bundled_quotes().day.isoformat()
    assert shown["Took"].endswith(" ms")
    assert stored(tmp_path, "SELECT count(*), max(alpha2_code) FROM country") == (250, "ZW")
    assert stored(tmp_path, "SELECT country_source, rate_source FROM summarycache") == ("bundled", "bundled")


async def test_refresh_takes_countries_and_rates_from_given_addresses(run, upstream, tmp_path):
    upstream.answers[COUNTRIES] = document([*payloads.v3_1(), {"name": {"common": "[red]Nowhere"}, "population": -1}])

    result = await run(
        *("refresh", "--countries", upstream.url(COUNTRIES), "--rates", upstream.url(RATES), "--force"),
        LOG_LEVEL="WARNING",
    )

    assert (result.code, result.err) == (0, "")
    shown = table(result.out)
    assert shown["Countries"] == "250 (250 new, 0 updated)"
    assert shown["Sources"] == "countries from 127.0.0.1, rates from 127.0.0.1"
    assert shown["Skipped"] == "[red]Nowhere: its population is not a number in range"
    assert upstream.hits == {COUNTRIES: 1, RATES: 1}
    assert stored(tmp_path, "SELECT count(*) FROM country") == (250,)


async def test_failing_source_is_one_line_and_changes_nothing(run, upstream, tmp_path):
    upstream.answers["/gone"] = status(404)
    settings = {"RATE_SOURCES": "bundled", "LOG_LEVEL": "ERROR"}

    result = await run("refresh", "--countries", f"{upstream.url('/gone')}?key=hush", **settings)

    line = "Could not fetch data from country API (127.0.0.1: answered 404)"
    assert (result.code, result.out) == (1, "")
    assert result.err == f"External data source unavailable: {line}\n"
    assert stored(tmp_path, "SELECT count(*) FROM country") == (0,)


async def test_source_that_is_none_is_a_wrong_setting(run):
    result = await run("refresh", "--source", "bundeld")

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Wrong setting: COUNTRY_SOURCES: 'bundeld' is neither an http(s) URL nor one of: ")
    assert "Traceback" not in result.err


async def test_first_admin_is_made_with_a_password_that_shows_nowhere(run, tmp_path):
    names = ("--fname", "Ada", "--lname", "Mensah")
    made = await run("create-admin", "Ada@Example.com", *names, typed="correct horse battery\n", LOG_LEVEL="WARNING")
    again = await run("create-admin", "ada@example.com", typed="correct horse battery\n", LOG_LEVEL="WARNING")

    assert (made.code, made.out, made.err) == (0, "User 1 created: Ada@example.com, admin\n", "")
    assert (again.code, again.out) == (1, "")
    assert again.err == "E-mail taken: email is taken by another account\n"
    row = stored(tmp_path, "SELECT fname, lname, role, is_active, password_hash FROM user")
    assert row[:4] == ("Ada", "Mensah", "admin", 1)
    assert row[4].startswith("$argon2id$")
    entry = stored(tmp_path, "SELECT action, actor, actor_id, changes FROM audit")
    assert entry[:3] == ("CREATE_USER", "command line", None)
    assert "correct horse" not in entry[3]


def test_admin_with_a_wrong_address_or_password_is_not_made(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    wrong = run_here("create-admin", "ada", typed="short\n")
    missing = run_here("create-admin", "ada@example.com")

    assert (wrong.code, missing.code) == (1, 1)
    assert wrong.err == (
        "Validation failed: email is not a valid email address: An email address must have an @-sign.; "
        "password must have at least 12 characters\n"
    )
    assert missing.err == "Validation failed: password must have at least 12 characters\n"
    assert not (tmp_path / "data").exists()


def test_unknown_command_and_option_are_refused_without_a_traceback():
    command, option = run_here("refersh"), run_here("refresh", "--sources", "bundled")

    assert (command.code, option.code) == (2, 2)
    assert "No such command 'refersh'" in command.err
    assert "No such option" in option.err
    assert "Traceback" not in command.err + option.err


async def test_serve_on_a_port_that_is_taken_says_so_in_one_line_and_ends(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = {"PORT": str(taken.getsockname()[1]), "COUNTRY_SOURCES": "bundled", "RATE_SOURCES": "bundled"}
        process = await start(tmp_path, "serve", **settings, LOG_LEVEL="ERROR")
        out, err = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 3
    assert b"address already in use" in err
    assert b"Traceback" not in err
    assert (out, err.count(b"\n")) == (b"", 1)


async def test_serve_migrates_tells_its_address_serves_and_stops_when_asked(tmp_path):
    port = free_port()
    settings = {"PORT": str(port), "COUNTRY_SOURCES": "bundled", "RATE_SOURCES": "bundled", "LOG_LEVEL": "ERROR"}
    process = await start(tmp_path, "serve", **settings)
    assert process.stderr is not None
    announced = (await process.stderr.readuntil(b"try out\n\n")).decode()

    async with asyncio.timeout(20), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        while (await client.get("/status")).status_code != 200:  # until the first load has ended
            await asyncio.sleep(0.05)
        response = await client.head("/countries/")
    process.terminate()
    out, err = await process.communicate()

    place = f"http://127.0.0.1:{port}"
    assert announced == f"\nOpen  {place}/      the countries\n      {place}/docs  the API, to try out\n\n"
    assert (response.status_code, response.headers["X-Total-Count"]) == (200, "250")
    assert "server" not in response.headers
    assert (out, err) == (b"", b"")
    assert process.returncode in (0, -signal.SIGTERM)
