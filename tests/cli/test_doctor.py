"""The findings of the doctor, in healthy installations and broken ones."""

import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from app.cli.doctor.findings import Finding, Verdict
from app.cli.doctor.storage import judge_data, judge_rates
from app.core.db.migrations import head_revision
from app.countries.schemas import ImplausibleRate, SourcesPublic, StatusPublic
from tests.conftest import COUNTRIES, RATES, START, Client, make_settings
from tests.support import payloads
from tests.support.command import BUNDLED, Run, run
from tests.support.mariadb import PrivateMariaDB, free_port
from tests.support.upstream import FakeUpstream, document, status

SQLITE = pytest.mark.engines("sqlite")
HUSH = "hush-hush-hush"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def of(run: Run, check: str) -> tuple[str, str]:
    """Verdict and text of one check."""
    lines = [line for line in run.out.splitlines() if line.split(maxsplit=1)[1].startswith(f"{check}: ")]
    assert len(lines) == 1, run.out
    verdict, rest = lines[0].split(maxsplit=1)
    return verdict, rest.removeprefix(f"{check}: ")


async def test_healthy_installation_has_no_failure(loaded: Client, upstream: FakeUpstream, database_url: str):
    upstream.hits.clear()
    upstream.answers[RATES] = document(payloads.er_api(datetime.now(UTC).date()))
    sources = {"COUNTRY_SOURCES": upstream.url(COUNTRIES), "RATE_SOURCES": upstream.url(RATES)}

    result = await run("doctor", DATABASE_URL=database_url, ADMIN_API_KEY=HUSH, **sources)

    assert (result.code, result.err) == (0, "")
    assert of(result, "settings") == ("ok", "development, changes need a key or a sign-in")
    verdict, says = of(result, "database")
    assert verdict == "ok"
    assert says.startswith(("SQLite 3.", "MariaDB 1", "MySQL ", "PostgreSQL 1"))
    assert of(result, "migrations") == ("ok", f"revision {head_revision()}, the newest")
    assert of(result, "data")[1].startswith("250 countries from 127.0.0.1, refreshed ")
    assert of(result, "countries from 127.0.0.1")[1].startswith("250 countries, in ")
    assert of(result, "rates from 127.0.0.1")[0] == "ok"
    assert upstream.hits == {COUNTRIES: 1, RATES: 1}


async def test_findings_as_json(database_url: str):
    result = await run("doctor", "--json", DATABASE_URL=database_url, **BUNDLED)

    found: dict[str, Any] = TypeAdapter(dict[str, Any]).validate_json(result.out)
    checks = {finding["check"]: Finding.model_validate(finding) for finding in found["checks"]}
    assert (result.code, result.err, found["verdict"]) == (0, "", "warn")
    assert checks["data"] == Finding(
        check="data", verdict=Verdict.WARN, says="nothing is stored yet", advice="run: python -m app refresh"
    )
    assert checks["countries from bundled"].verdict is Verdict.OK


async def test_missing_database_is_reported_and_not_created(tmp_path: Path):
    result = await run("doctor", **BUNDLED)

    advice = "run: python -m app migrate (serve does so automatically)"
    assert result.code == 1
    assert of(result, "database") == ("fail", f"data/countries.db does not exist yet; {advice}")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("revision", "advice"),
    [
        (None, "run: python -m app migrate (serve does so automatically)"),
        ("0001", "run the migrations of an earlier version of the service first, see CHANGELOG.md"),
    ],
)
async def test_outdated_schema_fails(sqlite_template: Path, tmp_path: Path, revision: str | None, advice: str):
    file = shutil.copy(sqlite_template, tmp_path)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM alembic_version")
        if revision is not None:
            connection.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        connection.commit()

    result = await run("doctor", DATABASE_URL=f"sqlite:///{file}", **BUNDLED)

    assert result.code == 1
    assert of(result, "migrations") == ("fail", f"revision {revision}, not {head_revision()}; {advice}")


async def test_unreadable_data_fails_and_the_other_checks_go_on(sqlite_template: Path, tmp_path: Path):
    file = shutil.copy(sqlite_template, tmp_path)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("ALTER TABLE summarycache RENAME TO elsewhere")

    result = await run("doctor", DATABASE_URL=f"sqlite:///{file}", **BUNDLED)

    assert (result.code, result.err) == (1, "")
    reason = f"{file}: no such table: summarycache; run: python -m app migrate"
    assert of(result, "data") == ("fail", reason)
    assert of(result, "countries from bundled")[0] == "ok"


@SQLITE
async def test_failing_source_is_a_warning_and_a_failing_chain_is_a_failure(upstream: FakeUpstream, database_url: str):
    upstream.answers["/gone"] = status(404)
    gone = f"{upstream.url('/gone')}?key={HUSH}"

    result = await run("doctor", DATABASE_URL=database_url, COUNTRY_SOURCES=f"{gone} bundled", RATE_SOURCES=gone)

    assert result.code == 1
    assert of(result, "countries from 127.0.0.1") == ("warn", "answered 404; another source of the chain answers")
    advice = "check the network, or add bundled to RATE_SOURCES"
    assert of(result, "rates from 127.0.0.1") == ("fail", f"answered 404; no source of the chain answers: {advice}")
    assert HUSH not in result.out + result.err
    assert upstream.hits == {"/gone": 2}


@SQLITE
async def test_old_rates_are_a_warning_whether_or_not_another_source_is_newer(
    upstream: FakeUpstream, database_url: str
):
    upstream.answers[RATES] = document(payloads.er_api(date(2024, 3, 2)))
    old = "answered with rates of 2024-03-02, more than 7 days old"
    for others, advice in (
        ("", "put a source with newer rates into RATE_SOURCES"),
        (" bundled", "another source of the chain answers"),
    ):
        chain = upstream.url(RATES) + others
        result = await run("doctor", DATABASE_URL=database_url, COUNTRY_SOURCES="bundled", RATE_SOURCES=chain)

        assert (result.code, of(result, "rates from 127.0.0.1")) == (0, ("warn", f"{old}; {advice}"))


@SQLITE
async def test_unknown_format_is_described_by_its_fields_and_the_key_is_not_shown(
    upstream: FakeUpstream, database_url: str
):
    upstream.answers[f"/{HUSH}/rates"] = document({"items": [], HUSH: 1})
    sources = {"COUNTRY_SOURCES": "bundled", "RATE_SOURCES": f"{upstream.url('/{key}/rates')} bundled"}

    result = await run("doctor", DATABASE_URL=database_url, RATE_API_KEY=HUSH, **sources)

    says = "answered in an unknown format; seen: items, ********; another source of the chain answers"
    assert of(result, "rates from 127.0.0.1") == ("warn", says)
    assert HUSH not in result.out + result.err


@pytest.mark.usefixtures("loaded")
async def test_answer_that_a_refresh_would_refuse_fails(upstream: FakeUpstream, database_url: str):
    rates = payloads.er_api()
    jumped = {code: rate * (1 if code in ("USD", "AED") else 100) for code, rate in rates["rates"].items()}
    upstream.answers[COUNTRIES] = document(payloads.v3_1()[:100])
    upstream.answers[RATES] = document({**rates, "rates": jumped})
    sources = {"COUNTRY_SOURCES": upstream.url(COUNTRIES), "RATE_SOURCES": upstream.url(RATES)}

    result = await run("doctor", DATABASE_URL=database_url, **sources)

    assert result.code == 1
    for check, reason in {
        "countries": "answered with 100 countries while 250 are stored, which looks truncated; ",
        "rates": "would leave 231 of 250 stored countries without a rate; force=true accepts it; ",
    }.items():
        verdict, says = of(result, f"{check} from 127.0.0.1")
        assert (verdict, says[: len(reason)]) == ("fail", reason)


@SQLITE
async def test_source_of_countries_in_an_unknown_shape_is_named_as_such(upstream: FakeUpstream, database_url: str):
    odd = [{"name": record["name"]["common"], "population": 1, "pays_in": "EUR"} for record in payloads.v3_1()]
    upstream.answers[COUNTRIES] = document(odd)
    sources = {"COUNTRY_SOURCES": f"{upstream.url(COUNTRIES)} bundled", "RATE_SOURCES": "bundled"}

    result = await run("doctor", DATABASE_URL=database_url, **sources)

    why = "no field looks like a currency; seen: name, pays_in, population; force=true accepts it"
    expected = f"answered in an unknown format: {why}; another source of the chain answers"
    assert of(result, "countries from 127.0.0.1") == ("warn", expected)


@SQLITE
async def test_refused_key_fails_although_another_source_answers(upstream: FakeUpstream, database_url: str):
    upstream.answers["/v5"] = status(401)
    keyed = {"RESTCOUNTRIES_URL": upstream.url("/v5"), "RESTCOUNTRIES_API_KEY": HUSH}
    chain = {"COUNTRY_SOURCES": "restcountries bundled", "RATE_SOURCES": "bundled"}

    refused = await run("doctor", DATABASE_URL=database_url, **keyed, **chain)
    without = await run("doctor", DATABASE_URL=database_url, **chain)

    assert refused.code == 1
    reason = "refused RESTCOUNTRIES_API_KEY (401); correct the key; refreshes fail until then"
    assert of(refused, "countries from restcountries") == ("fail", reason)
    assert without.code == 0
    assert of(without, "countries from restcountries") == ("ok", "skipped, because it needs RESTCOUNTRIES_API_KEY")


async def test_settings_as_json_are_masked():
    result = await run("show-config", "--json", ADMIN_API_KEY=HUSH, DATABASE_URL=f"mysql://me:{HUSH}@db/service")

    shown = TypeAdapter(dict[str, str]).validate_json(result.out)
    assert (result.code, result.err) == (0, "")
    assert shown["ADMIN_API_KEY"] == "**********"
    assert shown["DATABASE_URL"] == "mysql+aiomysql://me:***@db/service?charset=utf8mb4"
    assert HUSH not in result.out


async def test_all_wrong_settings_are_reported_without_their_values():
    result = await run("doctor", PORT=f"1{HUSH}", LOG_LEVEL=HUSH)

    assert (result.code, result.err) == (1, "")
    wrong = [line.split()[:3] for line in result.out.splitlines()]
    assert wrong == [["fail", "settings:", "PORT:"], ["fail", "settings:", "LOG_LEVEL:"]]
    assert HUSH not in result.out


@SQLITE
async def test_open_service_is_a_failure_and_a_misspelled_setting_a_warning(database_url: str, tmp_path: Path):
    (tmp_path / ".env").write_text("REFRESH_INTERVAL_MINUTE=60\nMYSQL_PASSWORD=x\n")

    result = await run("doctor", DATABASE_URL=database_url, HOST="0.0.0.0", **BUNDLED)

    shown = [line for line in result.out.splitlines() if "settings: " in line]
    assert result.code == 1
    assert shown == [
        "fail  settings: no ADMIN_API_KEY, and HOST is 0.0.0.0: serve refuses to start; "
        "set ADMIN_API_KEY (openssl rand -hex 32 makes one) and ENVIRONMENT=production",
        "warn  settings: unknown setting REFRESH_INTERVAL_MINUTE; did you mean REFRESH_INTERVAL_MINUTES?",
    ]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("hush/hush hush", '"says":"********.db does not exist yet"'),
        ("127.0.0.1", '"check":"countries from ********"'),
        ("serve does", '"advice":"run: python -m app migrate (******** so automatically)"'),
        ("is", '"says":"hush%2Fhush%20hush.db does not exist yet"'),  # too short to be hidden
    ],
)
async def test_secret_is_hidden_in_every_text_of_a_finding_and_in_each_spelling(key: str, text: str):
    sources = {"COUNTRY_SOURCES": f"http://127.0.0.1:{free_port()}/", "RATE_SOURCES": "bundled"}
    url = "sqlite:///hush%252Fhush%2520hush.db"

    assert text in (await run("doctor", "--json", ADMIN_API_KEY=key, DATABASE_URL=url, **sources)).out


@pytest.mark.engines("mariadb")
async def test_server_that_refuses_is_explained_without_the_password(database_url: str, request: pytest.FixtureRequest):
    if "TEST_MYSQL_URL" in os.environ:
        pytest.skip("makes users, which a server that is given may not allow")
    server: PrivateMariaDB = request.getfixturevalue("mariadb")
    server.execute("CREATE OR REPLACE USER reader@'%'", "GRANT SELECT ON service.* TO reader@'%'")
    refusals = {
        server.url("service", user="reader"): "grant the user all rights on the database of DATABASE_URL",
        server.url("service", user=f"reader:{HUSH}"): "correct user and password in DATABASE_URL",
        server.url("nothing"): "make the database that DATABASE_URL names, or correct the name",
        server.url("service", user=f"reader:{HUSH}", port=free_port()): (
            "start the database, or correct host and port in DATABASE_URL"
        ),
    }

    for url, advice in refusals.items():
        result = await run("doctor", DATABASE_URL=url, DB_TIMEOUT_SECONDS="20", **BUNDLED)

        verdict, says = of(result, "database")
        assert (result.code, result.err, verdict) == (1, "", "fail")
        assert HUSH not in result.out
        assert says.endswith(f"; {advice}")
        assert "command denied to user 'reader'" in says or not advice.startswith("grant")


@pytest.mark.parametrize(
    ("age", "interval", "verdict"),
    [
        (timedelta(hours=47), 0, Verdict.OK),
        (timedelta(hours=49), 0, Verdict.WARN),
        (timedelta(minutes=119), 60, Verdict.OK),
        (timedelta(minutes=121), 60, Verdict.WARN),
    ],
)
def test_age_of_data_is_judged_by_its_schedule(age: timedelta, interval: float, verdict: Verdict):
    stored = StatusPublic(
        total_countries=250,
        last_refreshed_at=START,
        sources=SourcesPublic(countries="restcountries", rates="frankfurter"),
        rates_date=START.date(),
    )

    assert judge_data(stored, START + age, make_settings(refresh_interval_minutes=interval)).verdict is verdict


@pytest.mark.parametrize(
    ("sources", "advice"),
    [
        ("bundled", "put a live source into RATE_SOURCES"),
        ("frankfurter bundled", "run: python -m app refresh, from a source with newer rates"),
    ],
)
def test_old_rates_get_advice_that_fits_the_sources(sources: str, advice: str):
    stored = StatusPublic(
        total_countries=250,
        last_refreshed_at=START,
        sources=SourcesPublic(countries="bundled", rates="bundled"),
        rates_date=START.date() - timedelta(days=62),
    )

    finding = judge_data(stored, START, make_settings(rate_sources=sources))

    assert (finding.verdict, finding.advice) == (Verdict.WARN, advice)
    assert finding.says.endswith(f"rates of {stored.rates_date} from bundled, 62 days old")


def test_rates_that_contradict_a_peg_are_a_warning_with_both_numbers():
    stored = StatusPublic(
        total_countries=250,
        last_refreshed_at=START,
        sources=SourcesPublic(countries="bundled", rates="frankfurter"),
        rates_date=START.date(),
    )
    wrong = ImplausibleRate(code="AED", base="USD", rate=3.1, expected=3.6725, source="currency-api")

    assert judge_rates(stored) == []
    [finding] = judge_rates(stored.model_copy(update={"implausible_rates": [wrong]}))
    assert (finding.check, finding.verdict) == ("pegged rates", Verdict.WARN)
    assert finding.says == "AED is 3.1 per USD instead of 3.6725, from currency-api"
