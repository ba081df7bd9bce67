"""Limits of what a client may ask: what counts, who is one client, and what a refusal says."""

import asyncio
import re
from typing import Any

import httpx
import pytest

from tests.conftest import COUNTRIES, RATES, Client, Service
from tests.support.upstream import FakeUpstream, after
from tests.support.valkey import valkey
from tests.users.accounts import create, sign_in

pytestmark = pytest.mark.engines("sqlite")  # no database takes part


def limits_of(response: httpx.Response) -> dict[str, str]:
    names = ("ratelimit-policy", "ratelimit", "retry-after")
    return {name: response.headers[name] for name in names if name in response.headers}


async def test_without_limits_no_answer_speaks_of_them(loaded: Client):
    responses = [await loaded.get("/countries") for _ in range(20)]

    assert {response.status_code for response in responses} == {200}
    assert [limits_of(response) for response in responses] == [{}] * 20


async def test_reads_beyond_the_limit_are_429_with_the_time_to_wait(service: Service):
    async with service(rate_limit_reads="2/hour") as client:
        first, second, third = [await client.get("/rates/2020-01-01") for _ in range(3)]
        of_service = [(await client.get(path)).status_code for path in ("/health/live", "/health/ready", "/metrics")]

    assert [first.status_code, second.status_code] == [404, 404]
    assert limits_of(first) | {"ratelimit": ""} == {"ratelimit-policy": '"reads";q=2;w=3600', "ratelimit": ""}
    assert re.fullmatch(r'"reads";r=1;t=\d+', first.headers["ratelimit"])
    assert re.fullmatch(r'"reads";r=0;t=\d+', second.headers["ratelimit"])
    assert third.status_code == 429
    seconds = third.headers["retry-after"]
    assert limits_of(third)["ratelimit"] == f'"reads";r=0;t={seconds}'
    assert 0 < int(seconds) <= 3600
    told = f"At most 2 in one hour; try again in {seconds} s"
    assert third.json() == {"error": "Too many requests", "details": told}
    assert of_service == [200, 200, 200]


async def test_answers_from_memory_and_to_head_count_as_well(service: Service):
    async with service(rate_limit_reads="3/hour") as client:
        await client.post("/countries/refresh")
        codes = [(await client.get("/countries")).status_code for _ in range(2)]
        codes += [(await client.head("/countries")).status_code for _ in range(2)]

    assert codes == [200, 200, 200, 429]


async def test_refusal_may_be_read_by_a_page(service: Service):
    async with service(rate_limit_reads="1/hour", cors_origins="https://a.example") as client:
        await client.get("/countries")
        refused = await client.get("/countries", headers={"Origin": "https://a.example"})

    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == "https://a.example"
    assert "RateLimit" in refused.headers["access-control-expose-headers"]


async def test_joining_a_refresh_is_not_counted(service: Service, upstream: FakeUpstream):
    upstream.answers[RATES] = after(0.2, upstream.answers[RATES])
    async with service(rate_limit_refresh="2/hour") as client:
        together = await asyncio.gather(*(client.post("/countries/refresh") for _ in range(10)))
        last = await client.post("/countries/refresh")
        refused = await client.post("/countries/refresh")
        stored = (await client.get("/status")).json()["last_refreshed_at"]

    assert {response.status_code for response in (*together, last)} == {200}
    assert re.fullmatch(r'"refresh";r=0;t=\d+', last.headers["ratelimit"])
    assert refused.status_code == 429
    assert refused.json()["error"] == "Too many requests"
    assert int(refused.headers["retry-after"]) > 0
    assert upstream.hits == {COUNTRIES: 2, RATES: 2}
    assert stored == last.json()["last_refreshed_at"]


async def test_client_over_its_limit_may_join_the_refresh_of_another(service: Service, upstream: FakeUpstream):
    async with service(rate_limit_refresh="1/hour", trusted_proxies="127.0.0.1", allow_anonymous="refresh") as client:
        spent, other = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
        await client.post("/countries/refresh", headers=spent)
        upstream.answers[RATES] = after(0.3, upstream.answers[RATES])
        leading = asyncio.create_task(client.post("/countries/refresh", headers=other))
        while upstream.hits[RATES] < 2:
            await asyncio.sleep(0.01)
        joined, led = await client.post("/countries/refresh", headers=spent), await leading
        alone = await client.post("/countries/refresh", headers=spent)

    assert (joined.status_code, joined.json()) == (200, led.json())
    assert alone.status_code == 429


async def test_client_over_its_limit_starts_no_refresh_after_the_one_it_joined_was_refused(
    service: Service, upstream: FakeUpstream
):
    async with service(rate_limit_refresh="1/hour", trusted_proxies="127.0.0.1", allow_anonymous="refresh") as client:
        spent = {"X-Forwarded-For": "192.0.2.1"}
        await client.post("/countries/refresh", headers=spent)
        await create(client, role="editor")
        token = await sign_in(client)
        upstream.answers[RATES] = after(0.3, upstream.answers[RATES])
        leading = asyncio.create_task(client.post("/countries/refresh", headers=token))
        while upstream.hits[RATES] < 2:
            await asyncio.sleep(0.01)
        joining = asyncio.create_task(client.post("/countries/refresh", headers=spent))
        await client.delete("/auth/token", headers=token)
        codes = [(await answer).status_code for answer in (leading, joining)]

    assert codes == [401, 429]
    assert upstream.hits == {COUNTRIES: 2, RATES: 2}


async def test_attempts_to_sign_in_count_whatever_their_result(service: Service):
    form = {"username": "nobody@example.com", "password": "wrong, but long enough"}
    async with service(rate_limit_sign_in="2/hour") as client:
        codes = [(await client.post("/auth/token", data=form)).status_code for _ in range(2)]
        codes.append((await client.post("/auth/token", data={**form, "username": "other@example.com"})).status_code)

    assert codes == [401, 401, 429]


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("6.6.6.6, 192.0.2.1", "7.7.7.7, 192.0.2.1", True),  # what a client wrote itself stands on the left
        ("192.0.2.1, 10.1.2.3", "192.0.2.2, 10.1.2.3", False),  # 10.1.2.3 is trusted as well
    ],
)
async def test_client_is_the_one_that_trusted_proxies_name(service: Service, one: str, other: str, *, are_one: bool):
    async with service(rate_limit_reads="1/hour", trusted_proxies="127.0.0.1 10.0.0.0/8") as client:
        first = await client.get("/countries", headers={"X-Forwarded-For": one})
        second = await client.get("/countries", headers={"X-Forwarded-For": other})

    assert (first.status_code, second.status_code) == (200, 429 if are_one else 200)


async def test_proxy_that_is_not_trusted_is_ignored(service: Service):
    async with service(rate_limit_reads="1/hour", trusted_proxies="10.0.0.1") as client:
        headers = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(2)]
        codes = [(await client.get("/countries", headers=given)).status_code for given in headers]

    assert codes == [200, 429]


async def test_processes_that_share_a_storage_share_the_limits_and_live_without_it(service: Service):
    async with valkey() as server:
        storage = f"valkey://127.0.0.1:{server.port}/0"
        shared: dict[str, Any] = {"rate_limit_reads": "3/hour", "rate_limit_storage": storage}
        async with service(**shared) as one, service(**shared) as other:
            codes = [(await client.get("/countries")).status_code for client in (one, other, one, other, one)]
            await asyncio.to_thread(server.stop)
            without = await one.get("/countries")
            again = await one.get("/countries")

    assert codes == [200, 200, 200, 429, 429]
    assert (without.status_code, again.status_code) == (200, 200)
    assert limits_of(again)["ratelimit-policy"] == '"reads";q=3;w=3600'
