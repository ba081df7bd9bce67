"""The database engines that tests run on: SQLite, and private servers or those that the environment names."""

import os
from typing import Final
from zlib import crc32

import pytest

from tests.support import mariadb, postgresql

ENGINES: Final = ("sqlite", "mariadb", "postgresql")
EVERY_ENGINE: Final = pytest.mark.engines(*ENGINES)
"""For what depends on how an engine stores, orders, locks or fails."""
ONLY: Final = os.environ.get("TEST_ENGINES", "").split()
"""Runs tests on these engines only, but all of them on each; empty runs each test on SQLite and one server."""


def has(engine: str) -> bool:
    """Whether tests can run on this engine here."""
    match engine:
        case "mariadb":
            return "TEST_MYSQL_URL" in os.environ or mariadb.is_installed()
        case "postgresql":
            return "TEST_POSTGRES_URL" in os.environ or postgresql.is_installed()
    return True


def missing() -> list[str]:
    """The servers that tests can't run on here."""
    return [engine for engine in ENGINES if not has(engine)]


def engines_of(test: pytest.Function) -> list[str]:
    """The engines that a test runs on: those of its mark, else SQLite and one server, the same in each run."""
    servers = [engine for engine in ENGINES[1:] if has(engine)]
    marker = test.get_closest_marker("engines")
    if marker:
        wanted = list(marker.args)
    elif ONLY:
        wanted = ONLY
    else:
        wanted = ["sqlite", *servers[crc32(test.nodeid.encode()) % len(servers) :][:1]] if servers else ["sqlite"]
    return [engine for engine in wanted if has(engine) and (not ONLY or engine in ONLY)]
