"""``GET /metrics``: what Prometheus reads."""

from tests.conftest import make_settings, serving
from tests.support.mariadb import free_port
from tests.support.statements import recorded
from tests.test_pool import until_started

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


async def test_figures_are_in_the_text_format_and_no_cache_keeps_them(service):
    async with service(db_pool_size=3, db_max_overflow=2) as client:
        await until_started(client)
        with recorded(client.state["database"]) as statements:
            response = await client.get("/metrics")

    assert (response.status_code, response.text) == (200, IDLE_OF_3)
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert statements == []


async def test_figures_are_told_while_the_database_is_away():
    url = f"mysql://root@127.0.0.1:{free_port()}/service"
    async with serving(make_settings(database_url=url, db_pool_size=3, db_max_overflow=2)) as client:
        await client.get("/countries")
        response = await client.get("/metrics")

    assert (response.status_code, response.text) == (200, IDLE_OF_3)


async def test_each_application_tells_its_own_figures(tmp_path):
    settings = {"database_url": f"sqlite:///{tmp_path}/x.db"}
    async with (
        serving(make_settings(db_pool_size=3, **settings)) as one,
        serving(make_settings(db_pool_size=4, **settings)) as other,
    ):
        texts = [(await client.get("/metrics")).text for client in (one, other)]

    assert "countries_db_pool_size 3.0\n" in texts[0]
    assert "countries_db_pool_size 4.0\n" in texts[1]
