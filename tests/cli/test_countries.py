"""The commands for stored countries, compared with the answers of the service."""

import asyncio
import errno
import os
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from app.core.db.migrations import EARLIER_FIRST
from app.refresh.schemas import RefreshResult
from tests.conftest import COUNTRIES, Client
from tests.support.command import ROOT, run, start
from tests.support.mariadb import free_port
from tests.support.upstream import FakeUpstream, hang

SQLITE = pytest.mark.engines("sqlite")  # the engine makes no difference


async def test_list_as_json_is_the_answer_of_the_service(loaded: Client, database_url: str):
    answer = await loaded.get("/countries?region=africa&currency=xof&q=e&sort=population_desc&limit=3&offset=1")
    filters = ("--region", "africa", "--currency", "xof", "--q", "e", "--sort", "population_desc")

    result = await run(
        "countries", "list", *filters, "--limit", "3", "--offset", "1", "--json", DATABASE_URL=database_url
    )

    assert len(answer.json()) == 3
    assert (result.code, result.out, result.err) == (0, answer.text + "\n", "")


@SQLITE
async def test_list_is_a_table_and_shows_the_next_offset(loaded: Client, database_url: str):
    ghana = (await loaded.get("/countries/ghana")).json()

    result = await run("countries", "list", "--q", "ghan", "--limit", "2", DATABASE_URL=database_url)

    assert (result.code, result.err) == (0, "2 of 2 countries\n")
    heading, line, _ = result.out.splitlines()
    assert heading.split("  ")[0] == "name"
    rate, gdp = f"{ghana['exchange_rate']:,.4f}", f"{ghana['estimated_gdp'] / 1e6:,.1f}"
    assert line.split() == ["Ghana", "GH", "Africa", f"{ghana['population']:,}", "GHS", rate, gdp]
    more = await run("countries", "list", "--limit", "2", DATABASE_URL=database_url)
    assert more.err == "2 of 250 countries; next: --offset 2\n"


@pytest.mark.parametrize("name", ["cote d'ivoire", "CI", "civ"])
@SQLITE
async def test_country_is_shown_by_name_and_by_both_codes(loaded: Client, database_url: str, name: str):
    answer = await loaded.get("/countries/CI")

    shown = await run("countries", "show", name, DATABASE_URL=database_url)
    as_json = await run("countries", "show", name, "--json", DATABASE_URL=database_url)

    assert (as_json.code, as_json.out) == (0, answer.text + "\n")
    lines = dict(line.strip().split("  ", 1) for line in shown.out.splitlines())
    assert lines["Name"].strip() == answer.json()["name"]
    assert lines["Codes"].strip() == "CI, CIV"


@SQLITE
async def test_unknown_country_is_one_line_with_similar_names(loaded: Client, database_url: str):
    near = await run("countries", "show", "Ghanna", DATABASE_URL=database_url)
    far = await run("countries", "show", "Xyzzyq", "--json", DATABASE_URL=database_url)

    assert (near.code, near.out) == (far.code, far.out) == (1, "")
    assert near.err.startswith("Country not found: Ghanna; did you mean Ghana")
    assert near.err.count("\n") == 1
    assert far.err == "Country not found: Xyzzyq\n"


async def test_export_has_the_bytes_of_the_service(loaded: Client, database_url: str, tmp_path: Path):
    for form in ("csv", "ndjson", "json"):
        answer = await loaded.get(f"/countries?format={form}&sort=gdp_desc")
        file = tmp_path / f"countries.{form}"

        piped = await run("export", "--format", form, "--sort", "gdp_desc", DATABASE_URL=database_url)
        kept = await run("export", "--output", str(file), "--sort", "gdp_desc", DATABASE_URL=database_url)

        assert (piped.code, piped.out.encode(), piped.err) == (0, answer.content, "")
        assert (kept.code, kept.out, kept.err) == (0, "", f"250 countries written to {file}\n")
        assert file.read_bytes() == answer.content


@SQLITE
async def test_export_that_fails_leaves_the_old_file_and_no_other(
    loaded: Client, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "countries.csv").write_text("old")

    def fill_the_disk(path: Path, content: bytes) -> None:
        with path.open("wb") as part:
            part.write(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", fill_the_disk)
    result = await run("export", "--output", str(folder / "countries.csv"), DATABASE_URL=database_url)
    no_file = await run("export", "--output", str(folder), DATABASE_URL=database_url)

    assert (result.code, result.out) == (1, "")
    assert result.err == f"Not written: {folder / 'countries.csv'}: No space left on device\n"
    assert (no_file.code, no_file.err) == (1, f"Not written: {folder}: is not a regular file\n")
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("countries.csv", "old")]


@SQLITE
async def test_empty_database_and_filters_without_a_match_are_explained(database_url: str):
    hint = "nothing is stored yet; run: python -m app refresh\n"
    for command, expected in {
        "countries list": (0, "", hint.capitalize()),
        "countries list --json": (0, "[]\n", ""),
        "countries list --q nowhere": (0, "", "No country matches.\n"),
        "countries show Ghana": (1, "", f"Country not found: {hint}"),
        "export --fields name": (0, "\ufeffname\r\n", hint.capitalize()),
    }.items():
        assert await run(*command.split(), DATABASE_URL=database_url) == expected


async def test_unusable_database_is_one_line(tmp_path: Path):
    new = await run("countries", "list", DATABASE_URL=f"sqlite:///{tmp_path}/new.db")
    away = await run("export", DATABASE_URL=f"mysql://root@127.0.0.1:{free_port()}/service")

    stale = "The database schema is not up to date; run: python -m app migrate"
    reason = "The database can't be reached or refused the work; python -m app doctor says why"
    assert new == (1, "", f"Database unavailable: {stale}\n")
    assert away == (1, "", f"Database unavailable: {reason}\n")


async def test_schema_that_only_an_earlier_version_can_migrate_is_explained(tmp_path: Path):
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection:
        connection.execute("CREATE TABLE alembic_version AS SELECT '0009' AS version_num")

    result = await run("countries", "list", DATABASE_URL=f"sqlite:///{tmp_path}/old.db")

    advice = f"the database is at revision 0009, too old for this version; {EARLIER_FIRST}"
    assert result == (1, "", f"Database unavailable: {advice}\n")


async def test_file_that_is_not_a_database_is_one_line(tmp_path: Path):
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    junk = {"DATABASE_URL": f"sqlite:///{tmp_path}/junk.db"}

    read, migrated = await run("countries", "list", **junk), await run("migrate", **junk)

    reason = "Database unavailable: The file is not an SQLite database, or is damaged"
    assert read == (1, "", f"{reason}; python -m app doctor says why\n")
    assert (migrated.code, migrated.out) == (1, "")
    advice = "correct DATABASE_URL, or stop the service and restore the file from a backup"
    assert migrated.err == f"Database unavailable: file is not a database; {advice}\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("countries", "list", "--region", " "), "--region must not be blank"),
        (("countries", "list", "--sort", "size"), "'size' is not one of"),
        (("countries", "list", "--limit", "0"), "0 is not in the range"),
        (("export", "--fields", "nmae"), "--fields must be some of"),
        (("export", "--format", "xml"), "'xml' is not one of"),
    ],
)
async def test_wrong_option_is_wrong_usage(options: tuple[str, ...], message: str):
    result = await run(*options)

    assert (result.code, result.out) == (2, "")
    assert message in result.err


@SQLITE
async def test_refresh_prints_the_answer_of_the_service_as_json(database_url: str):
    result = await run("refresh", "--source", "bundled", "--json", DATABASE_URL=database_url, LOG_LEVEL="ERROR")

    report = RefreshResult.model_validate_json(result.out)
    assert (result.code, result.err, result.out.count("\n")) == (0, "", 1)
    assert (report.total_countries, report.inserted, report.sources.rates) == (250, 250, "bundled")


@pytest.mark.slow
@SQLITE
async def test_closed_pipe_and_an_ascii_terminal_cause_no_traceback(loaded: Client, database_url: str, tmp_path):
    settings = {"DATABASE_URL": database_url, "PYTHONIOENCODING": "ascii", "TERM": "xterm-256color"}
    shown = await start(tmp_path, "countries", "show", "CI", **settings)
    left = await start(tmp_path, "export", "--format", "json", **settings)
    assert left.stdout is not None
    left.stdout._transport.close()  # type: ignore[attr-defined]

    out, err = await shown.communicate()
    assert left.stderr is not None
    left_err = await left.stderr.read()

    assert (shown.returncode, err) == (0, b"")
    assert "Côte d’Ivoire" in out.decode() or "Ivory Coast" in out.decode()
    assert b"\x1b" not in out
    assert (await left.wait(), left_err) == (1, b"")


@pytest.mark.slow
@SQLITE
async def test_interrupted_refresh_ends_with_130_and_one_line(upstream: FakeUpstream, database_url: str, tmp_path):
    upstream.answers[COUNTRIES] = hang
    sources = {"COUNTRY_SOURCES": upstream.url(COUNTRIES), "RATE_SOURCES": "bundled"}
    process = await start(tmp_path, "refresh", DATABASE_URL=database_url, LOG_LEVEL="ERROR", **sources)
    while not upstream.hits[COUNTRIES]:
        await asyncio.sleep(0.05)

    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()

    assert (process.returncode, out, err) == (130, b"", b"Interrupted\n")


async def completed(folder: Path, line: str) -> Any:
    """The completions that bash offers after this line, by the script that the command prints."""
    words = line.split(" ")
    script = f"""
        eval "$(scripts/app --show-completion bash)"
        COMP_WORDS=({" ".join(f"'{word}'" for word in words)}) COMP_CWORD={len(words) - 1}
        _app_completion scripts/app
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", script), cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert err == b""
    return out.decode().split()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash") or not (ROOT / ".venv").exists(), reason="needs bash and .venv")
async def test_bash_completes_commands_options_and_orders():
    assert set(await completed(ROOT, "app ")) >= {"countries", "export", "refresh", "doctor", "serve"}
    assert await completed(ROOT, "app countries sh") == ["show"]
    assert await completed(ROOT, "app export --form") == ["--format"]
    assert await completed(ROOT, "app countries list --sort gdp") == ["gdp_desc", "gdp_asc"]
