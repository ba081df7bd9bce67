"""The command line, in a process and a folder of its own."""

import asyncio
import signal
import socket
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db.migrations import head_revision
from app.sources.rates import bundled_quotes
from tests.conftest import COUNTRIES, RATES
from tests.support import payloads
from tests.support.command import BUNDLED, Run, start
from tests.support.command import run as run_here
from tests.support.mariadb import free_port
from tests.support.upstream import document, status


@pytest.fixture
def run(tmp_path):
    """Runs ``python -m app`` with these settings only, on the default database in its folder."""

    async def run(*arguments: str, typed: str = "", **settings: str) -> Run:
        process = await start(tmp_path, *arguments, **settings)
        out, err = await process.communicate(typed.encode())
        return Run(process.returncode, out.decode(), err.decode())

    return run


def stored(folder: Path, query: str) -> Any:
    with sqlite3.connect(folder / "data" / "countries.db") as connection:
        row = connection.execute(query).fetchone()
    connection.close()
    return row


def table(out: str) -> dict[str, str]:
    return {line[:11].strip(): line[11:].strip() for line in out.splitlines()}


async def test_help_lists_every_command(run):
    bare, asked = await run_here(), await run("--help")

    assert (asked.code, asked.err) == (0, "")
    shown = " ".join(asked.out.split())
    commands = "countries export doctor serve migrate refresh create-admin show-config import-rates sms-batch"
    assert set(commands.split()) <= set(shown.split())
    assert "The first minute: python -m app refresh" in shown
    assert "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted." in shown
    assert "Settings come from the environment and from .env." in shown
    assert (bare.code, bare.out.strip()) == (2, asked.out.strip())


async def test_migrate_builds_the_database_and_may_be_repeated(run, tmp_path):
    first = await run("migrate")
    again = await run("migrate")

    assert (first.code, first.out) == (again.code, again.out) == (0, "The database schema is up to date.\n")
    assert stored(tmp_path, "SELECT version_num FROM alembic_version") == (head_revision(),)
    assert stored(tmp_path, "SELECT count(*) FROM country") == (0,)


async def test_refresh_takes_countries_and_rates_from_the_bundled_source_or_addresses(run, upstream, tmp_path):
    records = [r | ({"currencies": {"BGN": {}}} if r["cca2"] == "BG" else {}) for r in payloads.v3_1()]
    upstream.answers[COUNTRIES] = document([*records, {"name": {"common": "[red]Nowhere"}, "population": -1}])
    upstream.answers[RATES] = document(payloads.er_api(datetime.now(UTC).date()))
    addresses = ("--countries", upstream.url(COUNTRIES), "--rates", upstream.url(RATES), "--force")

    bundled = await run("refresh", "--source", "bundled", LOG_LEVEL="WARNING")
    stored_sources = stored(tmp_path, "SELECT country_source, rate_source FROM summarycache")
    live = await run("refresh", *addresses, LOG_LEVEL="WARNING")

    assert (bundled.code, bundled.err, live.code, live.err) == (0, "", 0, "")
    shown = table(bundled.out)
    assert shown.pop("Took").endswith(" ms")
    assert shown == {
        "Countries": "250 (250 new, 0 updated)",
        "Sources": "countries from bundled, rates from bundled",
        "Rates of": bundled_quotes().day.isoformat(),
        "No rate": "1 of 250 countries",
        "Skipped": "SYP: its rate is of 2026-07-04, too far from the day of the others, 2026-09-29, to count as quoted",
    }
    assert stored_sources == ("bundled", "bundled")
    shown = table(live.out)
    assert shown["Countries"] == "250 (0 new, 250 updated)"
    assert shown["Sources"] == "countries from 127.0.0.1, rates from 127.0.0.1"
    assert shown["Skipped"] == "[red]Nowhere: its population is not a number in range"
    assert shown["Kept"] == "Bulgaria: currency_code EUR instead of BGN, BGN was withdrawn"
    assert upstream.hits == {COUNTRIES: 1, RATES: 1}
    assert stored(tmp_path, "SELECT count(*), max(alpha2_code) FROM country") == (250, "ZW")


@pytest.mark.engines("sqlite")
async def test_refresh_accepts_all_rates_or_those_of_some_currencies(upstream, database_url, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    rates, run = payloads.rates(), run_here
    sources = {"COUNTRY_SOURCES": "bundled", "RATE_SOURCES": upstream.url(RATES), "DATABASE_URL": database_url}
    await run("refresh", **sources)
    moved = {code: rates[code] * 20 for code in ("GHS", "NGN", "KES")} | {"AED": 3.1}
    upstream.answers[RATES] = document(payloads.er_api() | {"rates": rates | moved})

    doubted = []
    for force in ((), ("--force", "ghs", "NGN"), ("--force",)):
        result = await run("refresh", *force, **sources)
        doubted.append([line.split()[1] for line in result.out.splitlines() if line.strip().startswith("Skipped")])
        assert table(result.out)["Off peg"] == "AED is 3.1 per USD instead of 3.6725"
    wrong = [await run("refresh", *codes, **sources) for codes in (("GHS",), ("--force", "cedi"))]

    assert doubted == [["GHS:", "KES:", "NGN:"], ["KES:"], []]
    assert [result.code for result in wrong] == [2, 2]
    assert "currency codes are given with --force only" in " ".join(wrong[0].err.split())


async def test_failing_source_is_one_line_and_changes_nothing(run, upstream, tmp_path):
    upstream.answers["/gone"] = status(404)
    settings = {"RATE_SOURCES": "bundled", "LOG_LEVEL": "ERROR"}

    result = await run("refresh", "--countries", f"{upstream.url('/gone')}?key=hush", **settings)

    line = "Could not fetch data from country API (127.0.0.1: answered 404)"
    assert (result.code, result.out) == (1, "")
    assert result.err == f"External data source unavailable: {line}\n"
    assert stored(tmp_path, "SELECT count(*) FROM country") == (0,)


async def test_unknown_source_is_a_wrong_setting(run):
    result = await run("refresh", "--source", "bundeld")

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Wrong setting: COUNTRY_SOURCES: 'bundeld' is neither an http(s) URL nor one of: ")
    assert "Traceback" not in result.err


async def test_first_admin_is_created_and_the_password_is_never_shown(run, tmp_path):
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


async def test_admin_with_an_invalid_address_or_password_is_not_created(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    wrong = await run_here("create-admin", "ada", typed="short\n")
    missing = await run_here("create-admin", "ada@example.com")

    assert (wrong.code, missing.code) == (1, 1)
    assert wrong.err == (
        "Validation failed: email is not a valid email address: An email address must have an @-sign.; "
        "password must have at least 12 characters\n"
    )
    assert missing.err == "Validation failed: password must have at least 12 characters\n"
    assert not (tmp_path / "data").exists()


async def test_unknown_command_and_option_are_refused_without_a_traceback():
    command, option = await run_here("refersh"), await run_here("refresh", "--sources", "bundled")

    assert (command.code, option.code) == (2, 2)
    assert "No such command 'refersh'" in command.err
    assert "No such option" in option.err
    assert "Traceback" not in command.err + option.err


async def test_serve_on_a_taken_port_ends_with_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = await start(tmp_path, "serve", **BUNDLED, PORT=port, LOG_LEVEL="ERROR")
        out, err = await process.communicate()

    assert process.returncode == 3
    assert b"address already in use" in err
    assert b"Traceback" not in err
    assert (out, err.count(b"\n")) == (b"", 1)


async def is_loaded(client: httpx.AsyncClient, *, may_refuse: bool) -> bool:
    try:
        return (await client.get("/status")).status_code == 200
    except httpx.ConnectError:  # several workers listen a moment after the port is taken
        assert may_refuse
        return False


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
async def test_serve_migrates_prints_its_addresses_serves_and_stops_on_a_signal(tmp_path, workers):
    place = f"http://127.0.0.1:{free_port()}"
    settings = {"PORT": place.rpartition(":")[2], **BUNDLED}
    process = await start(tmp_path, "serve", **settings, WEB_CONCURRENCY=workers, LOG_LEVEL="ERROR")
    assert process.stderr is not None
    announced = (await process.stderr.readuntil(b"try out\n\n")).decode()

    async with httpx.AsyncClient(base_url=place) as client:
        while not await is_loaded(client, may_refuse=workers != "1"):
            await asyncio.sleep(0.05)
        response = await client.head("/countries/")
    process.terminate()
    out, err = await process.communicate()

    assert announced == f"\nOpen  {place}/      the countries\n      {place}/docs  the API, to try out\n\n"
    assert (response.status_code, response.headers["X-Total-Count"]) == (200, "250")
    assert "server" not in response.headers
    assert (out, err) == (b"", b"")
    assert process.returncode in (0, -signal.SIGTERM)
