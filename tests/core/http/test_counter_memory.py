"""Counters of rate limits in memory: what they count, what they forget, and what a count costs."""

import asyncio
import random
import re
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from limits import parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from pydantic import SecretStr

from app.core.http.middleware import rate_limits
from app.core.http.middleware.counter_memory import CounterMemory
from app.core.telemetry.counts import Counts

MINUTE = parse("10/minute")


class Clock(SimpleNamespace):
    """Unix time that a test sets."""

    seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


def counters(clock: Clock, **options: Any) -> tuple[CounterMemory, SlidingWindowCounterRateLimiter]:
    storage = CounterMemory(clock=clock, **options)
    return storage, SlidingWindowCounterRateLimiter(storage)


async def lines_of_a_hit(strategy: SlidingWindowCounterRateLimiter) -> int:
    """Number of lines of Python that counting one request runs."""
    lines = 0

    def count(_: Any, event: str, __: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        await strategy.hit(MINUTE, "203.0.113.7")
        await asyncio.sleep(0)  # a task that it may have started
    finally:
        sys.settrace(before)
    return lines


async def test_count_takes_the_same_steps_for_one_client_and_for_many():
    _, strategy = counters(Clock())
    await strategy.hit(MINUTE, "203.0.113.7")
    alone = await lines_of_a_hit(strategy)
    for number in range(20_000):
        await strategy.hit(MINUTE, f"client {number}")
    among_many = await lines_of_a_hit(strategy)

    assert alone == among_many > 0


async def test_client_that_was_counted_longest_ago_is_forgotten_first():
    storage, strategy = counters(Clock(), most=3)
    for client in ("a", "b", "a", "c", "d"):
        for _ in range(5):
            await strategy.hit(MINUTE, client)
    left = {client: (await strategy.get_window_stats(MINUTE, client)).remaining for client in "abcd"}

    assert len(storage) == 3
    assert left == {"a": 0, "b": 10, "c": 5, "d": 5}


async def test_most_clients_are_counted_over_all_limits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rate_limits, "CounterMemory", partial(CounterMemory, most=3))
    limits = rate_limits.RateLimits(
        {"reads": "5/minute", "refresh": "5/hour"}, SecretStr("memory"), Counts(), clock=Clock()
    )
    for name, client in (("reads", "a"), ("refresh", "a"), ("refresh", "b"), ("reads", "b")):
        await limits.count(name, client)
    left = [re.findall("r=([0-9])", (await limits.headers(name, "a"))["RateLimit"]) for name in ("reads", "refresh")]

    assert left == [["5"], ["4"]]


async def test_counts_that_no_longer_matter_are_removed_while_others_are_counted():
    clock = Clock()
    storage, strategy = counters(clock)
    for number in range(100):
        await strategy.hit(MINUTE, f"early {number}")
    clock.seconds += 120
    for number in range(100):
        await strategy.hit(MINUTE, f"late {number}")

    assert len(storage) == 100


@pytest.mark.parametrize("seconds", [0, 60])
async def test_count_that_is_given_back_is_free_again_also_in_the_next_period(seconds):
    clock = Clock(seconds=960_000.0)  # the beginning of a minute
    _, strategy = counters(clock)
    admitted = [await strategy.hit(MINUTE, "a") for _ in range(11)]
    clock.seconds += seconds
    await strategy.hit(MINUTE, "a", cost=-1)
    afterwards = [await strategy.hit(MINUTE, "a") for _ in range(2)]

    assert admitted == [True] * 10 + [False]
    assert afterwards == [True, False]


async def test_counts_are_those_of_the_storage_of_the_library(monkeypatch: pytest.MonkeyPatch):
    clock, chance = Clock(), random.Random(9)
    monkeypatch.setattr("limits.aio.storage.memory.time.time", clock)
    _, ours = counters(clock)
    theirs = SlidingWindowCounterRateLimiter(MemoryStorage())
    for _ in range(3_000):
        clock.seconds += chance.expovariate(1.0)
        client = chance.choice("ab")
        assert await ours.hit(MINUTE, client) == await theirs.hit(MINUTE, client)
        stats = await ours.get_window_stats(MINUTE, client)
        assert stats == pytest.approx(await theirs.get_window_stats(MINUTE, client))
