"""``GET /metrics``, and the dashboard and alerts that use it."""

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
from app.refresh import schedule
from tests.conftest import RATES, START, Client, make_settings, serving
from tests.core.db.test_pool import until_started
from tests.core.http.test_cache import Monotonic
from tests.support.mariadb import free_port
from tests.support.statements import recorded
from tests.support.upstream import status

KEY = "a-key-for-the-metrics"
DOCS = Path(__file__).resolve().parents[3] / "docs"
IDLE_POOL = {"size": 3, "in_use": 0, "waiting": 0, "overflow": 0, "max_overflow": 2}


async def shown(client: Client, family: str) -> dict[str, float]:
    """The samples of a family that are not zero, by suffix and labels."""
    text = (await client.get("/metrics")).text
    samples = re.findall(rf"^{family}((?:_bucket|_sum|_count)?(?:{{.*}})?) (.*)$", text, re.MULTILINE)
    return {series: float(value) for series, value in samples if float(value)}


def pool_of(text: str) -> dict[str, float]:
    """The gauges of the connection pool; fails if one lacks its help or type."""
    pattern = r"# HELP (countries_db_pool_(\w+)) \S.*\n# TYPE \1 gauge\n\1 ([\d.]+)\n"
    return {name: float(value) for _, name, value in re.findall(pattern, text)}


async def test_metrics_are_in_the_text_format_and_not_cached(service):
    async with service(db_pool_size=3, db_max_overflow=2) as client:
        await until_started(client)
        with recorded(client.state["database"]) as statements:
            response = await client.get("/metrics")

    assert (response.status_code, pool_of(response.text)) == (200, IDLE_POOL)
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert statements == []


async def test_metrics_need_no_database():
    url = f"mysql://root@127.0.0.1:{free_port()}/service"
    async with serving(make_settings(database_url=url, db_pool_size=3, db_max_overflow=2)) as client:
        await client.get("/countries")
        response = await client.get("/metrics")

        assert (response.status_code, pool_of(response.text)) == (200, IDLE_POOL)
        assert await shown(client, "countries_cache_reads_total") == {'{result="miss"}': 1}


async def test_each_application_has_its_own_metrics(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    first, second = [serving(make_settings(database_url=url, db_pool_size=size)) for size in (3, 4)]
    async with first as one, second as other:
        texts = [(await client.get("/metrics")).text for client in (one, other)]

    assert [pool_of(text)["size"] for text in texts] == [3, 4]
    assert 'countries_http_requests_total{method="GET",route="/metrics"' not in texts[1]


@pytest.mark.engines("sqlite")
async def test_requests_are_counted_by_method_route_and_status_with_one_label_for_unknown_ones(loaded):
    for path in ("/countries/ghana", "/countries/ghana/", "/countries/peru", "/countries/nowhere", "/countries?x=1"):
        await loaded.get(path)
    await loaded.head("/countries/ghana/")
    await loaded.put("/countries/ghana")
    for number in range(20):
        await loaded.get(f"/nowhere/{number}")
        await loaded.request(f"METHOD{number}", "/nowhere")

    assert await shown(loaded, "countries_http_requests_total") == {
        '{method="POST",route="/countries/refresh",status="200"}': 1,
        '{method="GET",route="/countries/{name}",status="200"}': 3,
        '{method="GET",route="/countries/{name}",status="404"}': 1,
        '{method="GET",route="/countries",status="400"}': 1,
        '{method="HEAD",route="/countries/{name}",status="200"}': 1,
        '{method="PUT",route="/countries/{name}",status="405"}': 1,
        '{method="GET",route="other",status="404"}': 20,
        '{method="other",route="other",status="404"}': 20,
    }


@pytest.mark.engines("sqlite")
async def test_cached_responses_are_counted_like_all_others(loaded):
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
async def test_cache_reads_are_counted_by_result(service, monkeypatch):
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
        wanted = dict.fromkeys(('{result="bypass"}', '{result="miss"}', '{result="stale"}'), 1)
        assert await shown(client, "countries_cache_reads_total") == wanted


@pytest.mark.engines("sqlite")
async def test_refused_requests_are_counted(service):
    async with service(rate_limit_reads="2/hour") as client:
        statuses = [(await client.get("/countries")).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert await shown(client, "countries_rate_limited_total") == {'{limit="reads"}': 1}
        client.state["database"].pool.units += 1000
        assert (await client.post("/countries/refresh")).status_code == 503
        client.state["database"].pool.units -= 1000
        assert await shown(client, "countries_overloaded_total") == {"": 1}


async def test_refreshes_and_their_sources_are_counted(service, upstream):
    async with service() as client:
        await until_started(client)
        assert await shown(client, "countries_stored") == {}
        await client.post("/countries/refresh")
        upstream.answers[RATES] = status(404)
        await client.post("/countries/refresh")

        refreshes = dict.fromkeys(('{result="success"}', '{result="sources_unavailable"}'), 1)
        assert await shown(client, "countries_refreshes_total") == refreshes
        assert (await shown(client, "countries_refresh_duration_seconds"))["_count"] == 1
        sources = await shown(client, "countries_source_answers_total")
        assert sources['{data="rates",result="usable",source="127.0.0.1"}'] == 1
        assert sources['{data="rates",result="failed",source="127.0.0.1"}'] == 1
        assert await shown(client, "countries_stored") == {"": 250}
        info = dict.fromkeys((f'{{data="{data}",source="127.0.0.1"}}' for data in ("countries", "rates")), 1)
        assert await shown(client, "countries_data_source_info") == info


@pytest.mark.engines("sqlite")
async def test_age_of_the_data_grows_across_a_restart(settings, service):
    async with service() as client:
        await client.post("/countries/refresh")
        day = (await client.get("/status")).json()["rates_date"]
    async with serving(settings, clock=lambda: START + timedelta(hours=2)) as client:
        await until_started(client)
        age = await shown(client, "countries_data_age_seconds")
        rates_age = await shown(client, "countries_rates_age_seconds")

    async with serving(settings, clock=lambda: START - timedelta(days=9)) as client:
        while not await shown(client, "countries_stored"):
            await asyncio.sleep(0.02)
        ages = [await shown(client, f"countries_{name}_age_seconds") for name in ("data", "rates")]

    assert ages == [{}, {}], "zero, though the clock was put back"
    assert round(age[""]) == 7200
    assert rates_age[""] % 86_400 == (START + timedelta(hours=2)).hour * 3600 + START.minute * 60, day


@pytest.mark.engines("sqlite")
async def test_data_stored_by_another_process_shows_up_in_the_gauges(service, monkeypatch):
    monkeypatch.setattr(schedule, "LOOK_AGAIN", timedelta(seconds=0.05))
    async with service() as client, service() as other:
        await until_started(client)
        await other.post("/countries/refresh")
        while not await shown(client, "countries_stored"):
            await asyncio.sleep(0.02)

        assert await shown(client, "countries_stored") == {"": 250}
        assert await shown(client, "countries_refreshes_total") == {}


@pytest.mark.engines("sqlite")
async def test_process_build_and_number_of_workers_are_reported(client):
    text = (await client.get("/metrics")).text

    build = r'countries_build_info\{python="3[\d.]+",version="[\d.]+"\}'
    process = ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds")
    assert [name for name in (*process, build) if not re.search(rf"^{name} [\d.e+]+$", text, re.MULTILINE)] == []
    assert "\ncountries_workers 1.0\n" in text


DASHBOARD = json.loads((DOCS / "grafana-dashboard.json").read_text())
ALERTS = [rule for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


@pytest.mark.engines("sqlite")
async def test_metrics_and_labels_of_dashboard_and_alerts_exist(service):
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]
    variables = [item["definition"] for item in DASHBOARD["templating"]["list"] if item["type"] == "query"]
    expressions = [*variables, *(item["expr"] for item in (*targets, *DASHBOARD["annotations"]["list"], *ALERTS))]
    async with service(rate_limit_refresh="100/minute") as client:
        await client.post("/countries/refresh")
        families = text_string_to_metric_families((await client.get("/metrics")).text)
        labels = {sample.name: set(sample.labels) for family in families for sample in family.samples}

    used = [
        (name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers or "")))
        for expression in expressions
        for name, matchers in re.findall(r"\b((?:countries|process)_\w+)(?:\{([^}]*)\})?", expression)
    ]
    assert len(used) > 20
    for name, matched in used:
        assert name in labels
        assert matched <= labels[name] | {"job", "instance"}, name


def test_dashboard_has_a_data_source_variable_and_no_overlapping_panels():
    panels = DASHBOARD["panels"]
    places = [panel["gridPos"] for panel in panels]
    cells = [(p["x"] + x, p["y"] + y) for p in places for x in range(p["w"]) for y in range(p["h"])]

    source = DASHBOARD["templating"]["list"][0]
    assert (source["type"], source["query"], source["name"]) == ("datasource", "prometheus", "datasource")
    assert {panel["datasource"]["uid"] for panel in panels if panel["type"] != "row"} == {"${datasource}"}
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_alert_has_a_severity_and_is_documented():
    operations = (DOCS / "operations.md").read_text()
    for rule in ALERTS:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert rule["annotations"].keys() == {"summary"}
        assert f"| `{rule['alert']}` |" in operations
