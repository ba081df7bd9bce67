"""Answers from memory: what is kept, for how long it counts, and what it never holds."""

import asyncio
from dataclasses import dataclass

import pytest

from app.core.http.cache.coding import negotiate
from app.core.http.cache.middleware import _fields
from app.core.http.cache.store import CachedResponse, ResponseStore, finish
from app.countries import crud
from tests.conftest import COUNTRIES, TABLES, opened_database, until_loaded
from tests.support import payloads
from tests.support.statements import raw, recorded
from tests.support.upstream import after, document

PATHS = ("/countries", "/countries/ghana", "/countries?region=africa&sort=gdp_desc", "/countries/image", "/status")
PUBLIC = "public, max-age=0, must-revalidate"


@dataclass
class Monotonic:
    """A clock that stands until a test moves it."""

    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def monotonic():
    return Monotonic()


@pytest.fixture
async def cached(service, monotonic):
    async with service(monotonic=monotonic) as client:
        await client.post("/countries/refresh")
        await until_loaded(client)
        yield client


def response_of(body: bytes, *headers: tuple[bytes, bytes]) -> CachedResponse:
    return finish(1, [(b"content-type", b"application/json"), *headers], body)


def counted(monkeypatch, use_case: str) -> list[object]:
    """What a use case of countries is called with from now on."""
    original = getattr(crud, use_case)
    calls: list[object] = []

    async def count(data, *arguments):
        calls.append(arguments)
        return await original(data, *arguments)

    monkeypatch.setattr(crud, use_case, count)
    return calls


def make_everybody_a_million(upstream) -> None:
    upstream.answers[COUNTRIES] = document([{**country, "population": 1_000_000} for country in payloads.v3_1()])


async def populations(client) -> set[int]:
    return {country["population"] for country in (await client.get("/countries")).json()}


async def test_repeated_read_is_the_same_answer_without_a_query(cached):
    for path in PATHS:
        first = await cached.get(path, headers={"Origin": "https://a.example"})
        with recorded(cached.state["database"]) as seen:
            second = await cached.get(path, headers={"Origin": "https://b.example"})

        assert (path, first.status_code, second.status_code, seen) == (path, 200, 200, [])
        assert second.content == first.content
        assert first.headers["Cache-Control"] == second.headers["Cache-Control"] == PUBLIC
        assert {**first.headers, "x-request-id": ""} == {**second.headers, "x-request-id": ""}
        assert second.headers.get_list("Access-Control-Allow-Origin") == ["*"]
        assert "Origin" not in second.headers.get("Vary", "")


async def test_many_who_ask_at_once_cost_one_computation(cached):
    with recorded(cached.state["database"]) as seen:
        answers = await asyncio.gather(*(cached.get("/countries/ghana/history?limit=1") for _ in range(30)))

    assert len({answer.content for answer in answers}) == 1
    assert len([statement for statement in seen if "FROM country_history" in statement.sql]) == 2  # page and total


async def test_queries_share_an_answer_only_if_they_differ_in_order_and_spelling(cached):
    first = await cached.get("/countries?region=africa&limit=5&q=o")
    with recorded(cached.state["database"]) as seen:
        second = await cached.get("/countries?limit=5&q=%6F&region=%61frica")

    assert seen == []
    assert (second.json(), second.headers["Link"]) == (first.json(), first.headers["Link"])
    for query, length in 2 * [("", 250), ("?limit=5", 5), ("?limit=6", 6)]:
        assert len((await cached.get(f"/countries{query}")).json()) == length


async def test_whoever_writes_reads_the_new_data_at_once(cached, upstream):
    before = {path: await cached.get(path) for path in PATHS}
    make_everybody_a_million(upstream)

    await cached.post("/countries/refresh")

    for path in PATHS:
        after = await cached.get(path)
        assert (path, before[path].status_code, after.status_code) == (path, 200, 200)
        assert after.content != before[path].content
        assert after.headers["ETag"] != before[path].headers["ETag"]

    await cached.delete("/countries/ghana")

    assert (await cached.get("/countries/ghana")).status_code == 404
    assert len((await cached.get("/countries")).json()) == 249
    assert (await cached.get("/status")).json()["total_countries"] == 249


async def test_change_of_another_process_shows_within_the_promised_time(cached, service, monotonic, upstream):
    assert len(await populations(cached)) > 1
    make_everybody_a_million(upstream)
    async with service() as other:
        await other.post("/countries/refresh")

    monotonic.seconds += 0.99
    with recorded(cached.state["database"]) as seen:
        assert len(await populations(cached)) > 1
    assert seen == []
    monotonic.seconds += 0.02
    assert await populations(cached) == {1_000_000}


async def test_zero_seconds_ask_the_database_at_every_request(service, upstream):
    async with service(cache_revalidate_seconds=0) as one, service() as other:
        await one.post("/countries/refresh")
        assert len(await populations(one)) > 1
        make_everybody_a_million(upstream)
        await other.post("/countries/refresh")

        assert await populations(one) == {1_000_000}
        await until_loaded(one)
        with recorded(one.state["database"]) as seen:
            await populations(one)
    assert len(seen) == 1
    assert seen[0].sql.startswith("SELECT summarycache.data_version \nFROM summarycache \nWHERE summarycache.id = ")


async def test_all_who_wait_for_the_version_share_one_question(cached, monotonic):
    for path in PATHS:
        await cached.get(path)
    monotonic.seconds += 1.5

    with recorded(cached.state["database"]) as seen:
        answers = await asyncio.gather(*(cached.get(path) for path in PATHS * 5))

    assert {answer.status_code for answer in answers} == {200}
    assert len(seen) == 1


async def test_errors_are_not_kept(cached, upstream, monkeypatch):
    calls = counted(monkeypatch, "get_fields")
    await cached.delete("/countries/ghana")
    missing, again = [await cached.get("/countries/ghana") for _ in range(2)]
    await cached.post("/countries/refresh")

    assert (len(calls), again.json()) == (2, missing.json())
    assert (missing.status_code, missing.headers["Cache-Control"]) == (404, "no-store")
    assert "ETag" not in missing.headers
    assert (await cached.get("/countries/ghana")).status_code == 200


async def test_what_does_not_declare_itself_cacheable_is_not_kept(cached, monotonic):
    monotonic.seconds += 100
    with recorded(cached.state["database"]) as seen:
        await cached.get("/health/live")

    assert seen == []
    for path in ("/", "/health/live", "/health/ready", "/openapi.json", "/docs"):
        answers = await asyncio.gather(*(cached.get(path) for _ in range(5)))

        assert (path, {answer.status_code for answer in answers}) == (path, {200})
        assert all("ETag" not in answer.headers for answer in answers)


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
async def test_request_with_credentials_is_neither_answered_from_memory_nor_kept(cached, header):
    await cached.get("/countries/ghana", headers={header: "x"})
    assert cached.state["responses"].bytes == 0
    plain = await cached.get("/countries/ghana")
    kept = cached.state["responses"].bytes
    keyed = await cached.get("/countries/ghana", headers={header: "x"})

    assert cached.state["responses"].bytes == kept > 0
    metrics = (await cached.get("/metrics")).text
    assert 'countries_cache_reads_total{result="bypass"} 2.0' in metrics, metrics
    assert (keyed.content, keyed.headers["ETag"]) == (plain.content, plain.headers["ETag"])


async def test_nothing_of_one_request_is_in_the_answer_to_another(service):
    page = "https://page.example"
    async with service(cors_origins=page) as client:
        await client.post("/countries/refresh")
        first = await client.get("/countries/ghana", headers={"Origin": page, "X-Request-ID": "first"})
        second = await client.get("/countries/ghana", headers={"X-Request-ID": "second"})
        third = await client.get("/countries/ghana", headers={"Origin": "https://evil.example"})
        fourth = await client.get("/countries/ghana", headers={"Origin": page})

    assert [answer.headers.get_list("X-Request-ID") for answer in (first, second)] == [["first"], ["second"]]
    for answer, allowed in ((first, [page]), (second, []), (third, []), (fourth, [page])):
        assert answer.headers.get_list("Access-Control-Allow-Origin") == allowed
        assert sorted(answer.headers["Vary"].split(", ")) == ["Accept-Encoding", "Origin"]


async def test_cache_that_may_hold_nothing_computes_each_answer(service, monkeypatch):
    calls = counted(monkeypatch, "list_countries")
    async with service(cache_max_bytes=0) as client:
        await client.post("/countries/refresh")
        answers = [await client.get("/countries", headers={"Accept-Encoding": "br"}) for _ in range(2)]
        known = await client.get("/countries", headers={"If-None-Match": answers[0].headers["ETag"]})

    assert len(calls) == 3
    assert answers[0].content == answers[1].content
    assert "Content-Encoding" not in answers[0].headers
    assert (known.status_code, known.content) == (304, b"")


async def test_full_cache_forgets_what_was_not_used_for_longest(service):
    async with service(cache_max_bytes=12_000) as client:
        await client.post("/countries/refresh")
        for name in ("ghana", "togo", "benin", "mali", "chad", "niger", "gabon", "kenya"):
            await client.get("/countries/ghana")
            await client.get(f"/countries/{name}")
        store: ResponseStore = client.state["responses"]

        assert store.get(("/countries/ghana", b"")) is not None
        assert store.get(("/countries/togo", b"")) is None


def test_store_never_grows_beyond_its_bound():
    store = ResponseStore(50_000, on_drop=lambda: None)
    for number in range(500):
        key, body = ("/countries", b"%d" % number), b"[" + b"1," * (number % 100 * 40) + b"2]"
        answer = response_of(body)
        store.keep(key, answer)
        store.add(key, answer, "br", body[: len(body) // 2])
        assert store.bytes <= 50_000
    assert store.get(("/countries", b"0")) is None
    store.keep(("/large", b""), response_of(b"x" * 60_000))
    assert store.get(("/large", b"")) is None
    assert store.get(("/countries", b"499")) is not None


def test_store_counts_what_clients_choose():
    store, path = ResponseStore(100_000, on_drop=lambda: None), "/" + "\N{EARTH GLOBE EUROPE-AFRICA}" * 1000
    for number in range(100):
        store.keep((path, b"%d" % number), response_of(b"[]", (b"link", b"x" * 10_000)))

    assert [number for number in range(100) if store.get((path, b"%d" % number))] == list(range(94, 100))


async def test_proxies_may_serve_unasked_where_the_operator_allows_it(service):
    async with service(cache_shared_max_age_seconds=60) as client:
        await client.post("/countries/refresh")
        answers = [await client.get("/countries/ghana") for _ in range(2)]

    assert {answer.headers["Cache-Control"] for answer in answers} == {f"{PUBLIC}, s-maxage=60"}


async def test_answer_of_an_older_snapshot_is_not_kept_for_the_new_version(cached, upstream, monkeypatch):
    original, began, release = crud.list_countries, asyncio.Event(), asyncio.Event()

    async def slow(session, filters):
        answer = await original(session, filters)
        began.set()
        await release.wait()
        return answer

    monkeypatch.setattr(crud, "list_countries", slow)
    reading = asyncio.create_task(cached.get("/countries"))
    await began.wait()
    make_everybody_a_million(upstream)
    await cached.post("/countries/refresh")
    waiting = asyncio.create_task(populations(cached))  # asked after the change, while the old answer is being made
    await asyncio.sleep(0.1)
    release.set()

    assert len({country["population"] for country in (await reading).json()}) > 1
    assert await waiting == {1_000_000}
    assert await populations(cached) == {1_000_000}


async def test_computation_that_fails_fails_for_nobody_else(cached, monkeypatch):
    original, began = crud.list_countries, asyncio.Event()

    async def fail_once(session, filters):
        monkeypatch.setattr(crud, "list_countries", original)
        began.set()
        await asyncio.sleep(0.05)
        raise RuntimeError("once")

    monkeypatch.setattr(crud, "list_countries", fail_once)
    first = asyncio.create_task(cached.get("/countries"))
    await began.wait()
    plain = {"Accept-Encoding": "identity"}
    others = await asyncio.gather(*(cached.get("/countries", headers=plain) for _ in range(3)))

    assert (await first).status_code == 500
    assert [answer.status_code for answer in others] == [200, 200, 200]
    again = await cached.get("/countries", headers=plain)
    assert {answer.headers["ETag"] for answer in others} == {again.headers["ETag"]}


async def test_who_waited_for_a_refresh_elsewhere_reads_its_data_at_once(cached, service, upstream):
    assert len(await populations(cached)) > 1
    make_everybody_a_million(upstream)
    upstream.answers[COUNTRIES] = after(0.5, upstream.answers[COUNTRIES])
    async with service() as other:
        refreshing = asyncio.create_task(other.post("/countries/refresh"))
        async with asyncio.timeout(10):
            while upstream.hits[COUNTRIES] < 2:
                await asyncio.sleep(0.01)
        waited = await cached.post("/countries/refresh")
        led = await refreshing

    assert waited.json() == led.json()
    assert await populations(cached) == {1_000_000}


async def test_recreated_database_does_not_repeat_a_version(cached, service, monotonic, database_url):
    old = (await cached.get("/countries/togo")).json()
    async with opened_database(database_url) as database, database.writing() as connection:
        for table in TABLES:
            await connection.execute(raw(database, f"DELETE FROM {table}"))
    async with service(real_clock=True) as other:
        await other.post("/countries/refresh")
        stored = (await other.get("/countries/togo")).json()
    monotonic.seconds += 1.5

    assert (await cached.get("/countries/togo")).json() == stored
    assert stored["last_refreshed_at"] != old["last_refreshed_at"]


def test_header_that_is_repeated_thousands_of_times_is_joined_in_one_go():
    headers = [(b"accept-encoding", b"br;q=0")] * 200_000 + [(b"accept-encoding", b"gzip")]
    fields = _fields({"headers": headers})

    assert fields == {b"accept-encoding": b"br;q=0, " * 200_000 + b"gzip"}
    assert negotiate(fields[b"accept-encoding"]) == "gzip"
