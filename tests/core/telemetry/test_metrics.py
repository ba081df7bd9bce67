"""``GET /metrics``: what Prometheus reads."""

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.core.db.data_version import DataVersion
from app.core.errors import DatabaseUnavailable
from app.refresh import schedule as watch
from tests.conftest import RATES, START, Client, make_settings, serving
from tests.core.db.test_pool import until_started
from tests.core.http.test_cache import Monotonic
from tests.support.mariadb import free_port
from tests.support.statements import recorded
from tests.support.upstream import status

KEY = "a-key-for-the-metrics"
DOCS = Path(__file__).resolve().parents[3] / "docs"
IDLE_OF_3 = """\
# HELP countries_db_pool_size Database connections that this process keeps open (DB_POOL_SIZE).
# TYPE countries_db_pool_size gauge
countries_db_pool_size 3.0
# HELP countries_db_pool_in_use Database connections at work, or just being opened.
# TYPE countries_db_pool_in_use gauge
countries_db_pool_in_use 0.0
# HELP countries_db_pool_waiting Units of work that wait for a database connection.
# TYPE countries_db_pool_waiting gauge
countries_db_pool_waiting 0.0
# HELP countries_db_pool_overflow Database connections open beyond the pool's size; each is closed after its use.
# TYPE countries_db_pool_overflow gauge
countries_db_pool_overflow 0.0
# HELP countries_db_pool_max_overflow How many may be open beyond the pool's size (DB_MAX_OVERFLOW).
# TYPE countries_db_pool_max_overflow gauge
countries_db_pool_max_overflow 2.0
"""


async def shown(client: Client, family: str) -> dict[str, float]:
    """The samples of one family that are not zero, by what stands in front of their value."""
    text = (await client.get("/metrics")).text
    lines = [
        line.rpartition(" ") for line in text.splitlines() if re.match(rf"{family}(_bucket|_sum|_count)?[ {{]", line)
    ]
    return {series.removeprefix(family): float(value) for series, _, value in lines if float(value)}


async def test_figures_are_in_the_text_format_and_no_cache_keeps_them(service):
    async with service(db_pool_size=3, db_max_overflow=2) as client:
        await until_started(client)
        with recorded(client.state["database"]) as statements:
            response = await client.get("/metrics")

    assert response.status_code == 200
    assert IDLE_OF_3 in response.text
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert statements == []


async def test_figures_are_told_while_the_database_is_away():
    url = f"mysql://root@127.0.0.1:{free_port()}/service"
    async with serving(make_settings(database_url=url, db_pool_size=3, db_max_overflow=2)) as client:
        await client.get("/countries")
        response = await client.get("/metrics")

        assert response.status_code == 200
        assert IDLE_OF_3 in response.text
        assert await shown(client, "countries_cache_reads_total") == {'{result="miss"}': 1}


async def test_each_application_tells_its_own_figures(tmp_path):
    settings = {"database_url": f"sqlite:///{tmp_path}/x.db"}
    async with (
        serving(make_settings(db_pool_size=3, **settings)) as one,
        serving(make_settings(db_pool_size=4, **settings)) as other,
    ):
        texts = [(await client.get("/metrics")).text for client in (one, other)]

    assert "countries_db_pool_size 3.0\n" in texts[0]
    assert "countries_db_pool_size 4.0\n" in texts[1]
    assert 'countries_http_requests_total{method="GET",route="/metrics"' not in texts[1]


# Requests


@pytest.mark.engines("sqlite")
async def test_requests_are_counted_by_method_route_and_status(loaded):
    for path in ("/countries/ghana", "/countries/ghana/", "/countries/peru", "/countries/nowhere", "/countries?x=1"):
        await loaded.get(path)
    await loaded.head("/countries/ghana/")
    await loaded.put("/countries/ghana")

    assert await shown(loaded, "countries_http_requests_total") == {
        '{method="POST",route="/countries/refresh",status="200"}': 1,
        '{method="GET",route="/countries/{name}",status="200"}': 3,
        '{method="GET",route="/countries/{name}",status="404"}': 1,
        '{method="GET",route="/countries",status="400"}': 1,
        '{method="HEAD",route="/countries/{name}",status="200"}': 1,
        '{method="PUT",route="/countries/{name}",status="405"}': 1,
    }


@pytest.mark.engines("sqlite")
async def test_answers_from_memory_are_counted_like_all_others(loaded):
    tag = (await loaded.get("/countries")).headers["ETag"]
    for _ in range(3):
        await loaded.get("/countries")
    await loaded.get("/countries", headers={"If-None-Match": tag})

    requests = await shown(loaded, "countries_http_requests_total")
    assert requests['{method="GET",route="/countries",status="200"}'] == 4
    assert requests['{method="GET",route="/countries",status="304"}'] == 1
    durations = await shown(loaded, "countries_http_request_duration_seconds")
    assert durations['_bucket{le="+Inf",method="GET",route="/countries"}'] == 5
    assert durations['_count{method="GET",route="/countries"}'] == 5
    assert await shown(loaded, "countries_cache_reads_total") == {'{result="hit"}': 4, '{result="miss"}': 1}


@pytest.mark.engines("sqlite")
async def test_what_clients_make_up_is_one_series(client):
    for number in range(20):
        await client.get(f"/nowhere/{number}")
        await client.request(f"METHOD{number}", "/nowhere")

    assert await shown(client, "countries_http_requests_total") == {
        '{method="GET",route="other",status="404"}': 20,
        '{method="other",route="other",status="404"}': 20,
    }


@pytest.mark.engines("sqlite")
async def test_reads_with_credentials_and_stale_ones_are_told_apart(service, monkeypatch):
    async def away(_: DataVersion) -> None:
        raise DatabaseUnavailable

    clock = Monotonic()
    async with service(monotonic=clock, admin_api_key=KEY) as client:
        await client.post("/countries/refresh", headers={"X-API-Key": KEY})
        await client.get("/countries", headers={"X-API-Key": KEY})
        await client.get("/countries")
        monkeypatch.setattr(DataVersion, "_read", away)
        clock.seconds += 10
        stale = await client.get("/countries")

        assert stale.headers["Age"] == "10"
        assert await shown(client, "countries_cache_reads_total") == {
            '{result="bypass"}': 1,
            '{result="miss"}': 1,
            '{result="stale"}': 1,
        }


@pytest.mark.engines("sqlite")
async def test_refusals_are_counted(service):
    async with service(rate_limit_reads="2/hour") as client:
        statuses = [(await client.get("/countries")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert await shown(client, "countries_rate_limited_total") == {'{limit="reads"}': 1}
        client.state["database"].pool.units += 1000
        assert (await client.post("/countries/refresh")).status_code == 503
        client.state["database"].pool.units -= 1000
        assert await shown(client, "countries_overloaded_total") == {"": 1}


# Data, refreshes, sources


async def test_refresh_shows_in_the_figures(service, upstream):
    async with service() as client:
        await until_started(client)
        assert await shown(client, "countries_stored") == {}
        await client.post("/countries/refresh")
        upstream.answers[RATES] = status(404)
        await client.post("/countries/refresh")

        assert await shown(client, "countries_refreshes_total") == {
            '{result="success"}': 1,
            '{result="sources_unavailable"}': 1,
        }
        assert (await shown(client, "countries_refresh_duration_seconds"))["_count"] == 1
        sources = await shown(client, "countries_source_answers_total")
        assert sources['{data="rates",result="usable",source="127.0.0.1"}'] == 1
        assert sources['{data="rates",result="failed",source="127.0.0.1"}'] == 1
        assert await shown(client, "countries_stored") == {"": 250}
        assert await shown(client, "countries_data_source_info") == {
            '{data="countries",source="127.0.0.1"}': 1,
            '{data="rates",source="127.0.0.1"}': 1,
        }


@pytest.mark.engines("sqlite")
async def test_age_of_the_data_grows_and_is_known_after_a_restart(settings, service):
    async with service() as client:
        await client.post("/countries/refresh")
        day = (await client.get("/status")).json()["rates_date"]
    async with serving(settings, clock=lambda: START + timedelta(hours=2)) as client:
        await until_started(client)
        age = await shown(client, "countries_data_age_seconds")
        rates_age = await shown(client, "countries_rates_age_seconds")

    assert round(age[""]) == 7200
    assert rates_age[""] % 86_400 == (START + timedelta(hours=2)).hour * 3600 + START.minute * 60, day


@pytest.mark.engines("sqlite")
async def test_what_another_process_stored_is_known_after_the_next_look(service, monkeypatch):
    monkeypatch.setattr(watch, "LOOK_SECONDS", 0.05)
    async with service() as client, service() as other:
        await until_started(client)
        await other.post("/countries/refresh")
        for _ in range(200):
            if await shown(client, "countries_stored"):
                break
            await asyncio.sleep(0.02)

        assert await shown(client, "countries_stored") == {"": 250}
        assert await shown(client, "countries_refreshes_total") == {}


@pytest.mark.engines("sqlite")
async def test_process_build_and_number_of_workers_are_told(client):
    text = (await client.get("/metrics")).text

    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"):
        assert re.search(rf"^{name} [\d.e+]+$", text, re.MULTILINE)
    assert re.search(r'^countries_build_info\{python="3[\d.]+",version="[\d.]+"\} 1\.0$', text, re.MULTILINE)
    assert "\ncountries_workers 1.0\n" in text


# Dashboard and alerts


def dashboard_expressions() -> list[str]:
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", ())]
    variables = [item["definition"] for item in dashboard["templating"]["list"] if item["type"] == "query"]
    return [*variables, *(item["expr"] for item in (*targets, *dashboard["annotations"]["list"]))]


def alert_expressions() -> list[str]:
    groups = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


@pytest.mark.engines("sqlite")
@pytest.mark.parametrize("expressions", [dashboard_expressions, alert_expressions])
async def test_every_figure_that_is_looked_at_is_shown_with_the_labels_that_are_used(service, expressions):
    async with service(rate_limit_refresh="100/minute") as client:
        await client.post("/countries/refresh")
        families = text_string_to_metric_families((await client.get("/metrics")).text)
        labels = {sample.name: set(sample.labels) for family in families for sample in family.samples}

    used = [
        (name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers or "")))
        for expression in expressions()
        for name, matchers in re.findall(r"\b((?:countries|process)_\w+)(?:\{([^}]*)\})?", expression)
    ]
    assert len(used) > 10
    for name, matched in used:
        assert name in labels
        assert matched <= labels[name] | {"job", "instance"}, name


def test_dashboard_asks_for_its_data_source_and_no_panel_hides_another():
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    panels = dashboard["panels"]
    cells = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["w"])
        for y in range(place["h"])
    ]

    source = dashboard["templating"]["list"][0]
    assert (source["type"], source["query"], source["name"]) == ("datasource", "prometheus", "datasource")
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"${datasource}"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_alert_says_how_bad_it_is_and_the_documentation_what_to_do():
    operations = (DOCS / "operations.md").read_text()
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]:
        for rule in group["rules"]:
            assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
            assert rule["labels"]["severity"] in ("info", "warning", "critical")
            assert rule["annotations"].keys() == {"summary"}
            assert f"| `{rule['alert']}` |" in operations
