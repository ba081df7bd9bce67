"""Simultaneous writes of every kind through two processes end as if made one after another."""

import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.sources.countries import bundled_records
from checks.support.bodies import ADA, NDJSON, RIDGE, UBID, document, transfer
from checks.support.processes import started
from checks.support.story import read_story, set_generation
from tests.conftest import Client
from tests.rates.test_import import newest_lines, rows_of, stored, table, write
from tests.support.service import environment
from tests.support.upstream import FakeUpstream

GONE = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b11"
MOST_ADDRESSES = 50


@dataclass
class Writers:
    """Clients of several processes in turn, and their responses."""

    clients: Iterator[httpx.AsyncClient]
    upstream: FakeUpstream
    rounds: int
    chance: random.Random = field(default_factory=lambda: random.Random(7))
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    refreshed: set[str] = field(default_factory=set)
    """The time of each answered refresh."""
    unknown: Counter[str] = field(default_factory=Counter)
    """503 answers that left open whether the change was made; an overloaded machine gives them."""
    again: int = 0

    async def ask(self, what: str, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request, again after each 503."""
        client = next(self.clients)
        while True:
            response = await client.request(method, path, **more)
            if response.status_code != 503:
                break
            assert "Retry-After" in response.headers
            self.again += 1
            self.unknown[what] += "look whether" in response.text
            await asyncio.sleep(0.1)
        assert response.status_code < 500, response.text
        self.answers[what, response.status_code] += 1
        return response

    def may_be(self, stored: int, what: str, status: int = 200) -> bool:
        """Whether this number of changes is the answered ones plus at most the unknown ones."""
        return 0 <= stored - self.answers[what, status] <= self.unknown[what]

    async def refreshes(self) -> None:
        for generation in range(2, self.rounds + 2):
            set_generation(self.upstream, generation)
            response = await self.ask("refresh", "POST", "/countries/refresh")
            self.refreshed.add(response.json()["last_refreshed_at"])

    async def deletions(self) -> None:
        names = [record["name"] for record in bundled_records()[1:]]  # the story reads the first one
        for _ in range(self.rounds):
            name = self.chance.choice(names)
            await asyncio.gather(*(self.ask("delete", "DELETE", f"/countries/{name}") for _ in range(2)))

    async def accounts(self) -> None:
        for number in range(self.rounds):
            account = {**ADA, "email": f"ada{number}@example.com", "addresses": [RIDGE, RIDGE]}
            await asyncio.gather(*(self.ask("create", "POST", "/users", json=account) for _ in range(3)))

    async def changes(self, user_id: int) -> None:
        for number in range(self.rounds):
            names = [f"Ada {number} {letter}" for letter in "abc"]
            await asyncio.gather(
                *(self.ask("rename", "PATCH", f"/users/{user_id}", json={"fname": name}) for name in names)
            )

    async def addresses(self, user_id: int) -> None:
        path = f"/users/{user_id}/addresses"
        for _ in range(12):
            await asyncio.gather(*(self.ask("address", "POST", path, json=RIDGE) for _ in range(5)))

    async def documents(self, first: int) -> None:
        """Documents that overlap with those of other calls, as a stream and as a batch."""
        items = [document(number) for number in range(first, first + 6000)]
        body = "".join(json.dumps(item) + "\n" for item in items)
        await self.ask("stream", "POST", f"/tracking/sms_documents/{UBID}/stream", content=body, headers=NDJSON)
        batch = {"UBID": UBID, "documents": items[:1000]}
        await self.ask("batch", "POST", "/tracking/sms_documents", json=batch)

    async def steps(self) -> None:
        """Create and delete a transfer while its documents are stored."""
        for _ in range(self.rounds):
            await self.ask("transfer", "POST", "/tracking/sms_transfers", json=transfer(GONE))
            batch = {"UBID": GONE, "documents": [document(number) for number in range(50)]}
            await asyncio.gather(
                self.ask("documents", "POST", "/tracking/sms_documents", json=batch),
                self.ask("advance", "PUT", f"/tracking/sms_documents/{GONE}/SENT"),
                self.ask("remove", "DELETE", f"/tracking/sms_transfers/{GONE}"),
            )


async def import_rates(file: Path, database_url: str) -> dict[str, str]:
    """Run the command as a separate process; returns the table that it prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "import-rates", "--file", str(file)),
        cwd=file.parent,
        env=environment(database_url=database_url, log_level="WARNING"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b""), (out, err)
    return table(out.decode())


@pytest.mark.row("3.6 writes of every kind at once in 2 processes")
async def test_simultaneous_writes_end_as_if_made_one_after_another(
    database_url, new_process, upstream, service, tmp_path, figure, is_full
):
    """Two imports of one file are among them.

    Seen to fail without the locks of ``read_summary()`` and of an account, and without the lease of an import.
    """
    processes = [new_process() for _ in range(2)]
    lines = newest_lines(1000 if is_full else 300)
    file = write(tmp_path / "hist.csv", lines)
    async with (
        started(*processes),
        service(cache_max_bytes=0) as observer,
        httpx.AsyncClient(base_url=processes[0].url, timeout=60) as one,
        httpx.AsyncClient(base_url=processes[1].url, timeout=60) as other,
    ):
        set_generation(upstream, 1)
        writers = Writers(cycle((one, other)), upstream, rounds=20 if is_full else 5)
        await writers.ask("first", "POST", "/countries/refresh")
        created = await writers.ask("first", "POST", "/users", json={**ADA, "email": "ada@example.com"})
        user_id = created.json()["id"]
        await writers.ask("first", "POST", "/tracking/sms_transfers", json=transfer())
        work = [
            *(writers.refreshes(), writers.deletions(), writers.accounts(), writers.steps()),
            *(writers.changes(user_id), writers.addresses(user_id), writers.documents(0), writers.documents(3000)),
        ]
        imports = asyncio.gather(import_rates(file, database_url), import_rates(file, database_url))
        await asyncio.gather(*work)
        shown = await imports
        await assert_countries_tell_one_story(observer, writers)
        await assert_accounts_are_complete(observer, writers, user_id)
        await assert_deliveries_are_complete(observer, writers, database_url)
    await assert_imports_report_each_day_once(database_url, lines, *shown)

    number = sum(writers.answers.values())
    figure(f"{number} writes and 2 imports: as if one after another, {writers.again} asked again after 503")


async def entries(client: Client, *actions: str) -> list[dict[str, Any]]:
    """Entries of the audit trail, the oldest first."""
    found: list[dict[str, Any]] = []
    for action in actions:
        response = await client.get(f"/audit?action={action}&limit=1000")
        found += response.json()
    return sorted(found, key=lambda entry: entry["id"])


async def assert_countries_tell_one_story(client: Client, writers: Writers) -> None:
    """Each entry of a refresh or deletion begins where the one before it ended."""
    story = await read_story(client)
    total, refreshed_at, recorded = 0, None, set()
    trail = await entries(client, "REFRESH_COUNTRIES", "DELETE_COUNTRY")
    for entry in trail:
        if entry["action"] == "DELETE_COUNTRY":
            total -= 1
            continue
        changes = entry["changes"]
        assert changes["last_refreshed_at"]["before"] == refreshed_at
        assert changes.get("total_countries", {"before": total})["before"] == (total or None)
        total, refreshed_at = 250, changes["last_refreshed_at"]["after"]
        recorded.add(refreshed_at.replace("+00:00", "Z"))
    assert (await client.get("/status")).json()["total_countries"] == total
    assert story.generation == writers.rounds + 1
    assert writers.refreshed < recorded
    assert len(recorded) == story.refreshes > writers.answers["refresh", 200]
    assert writers.may_be(len(trail) - story.refreshes, "delete")


async def assert_accounts_are_complete(client: Client, writers: Writers, user_id: int) -> None:
    accounts = (await client.get("/users?limit=1000")).json()
    assert len({account["email"] for account in accounts}) == len(accounts) == writers.rounds + 1
    assert writers.may_be(writers.rounds, "create", 201)
    assert writers.answers["create", 201] + writers.answers["create", 409] == 3 * writers.rounds
    (ada,) = [account for account in accounts if account["id"] == user_id]
    assert len(ada["addresses"]) == MOST_ADDRESSES
    assert writers.may_be(MOST_ADDRESSES, "address", 201)
    assert {len(account["addresses"]) for account in accounts if account is not ada} == {2}
    name = "Ada"
    for entry in await entries(client, "UPDATE_USER"):
        assert entry["changes"]["fname"]["before"] == name
        name = entry["changes"]["fname"]["after"]
    assert ada["fname"] == name
    created = await entries(client, "CREATE_ADDRESS", "CREATE_USER")
    assert len(created) == MOST_ADDRESSES + len(accounts)


async def assert_deliveries_are_complete(client: Client, writers: Writers, database_url: str) -> None:
    details = (await client.get(f"/tracking/sms_transfers/{UBID}")).json()
    assert details["states"] == {"INIT": 9000, "SENT": 0, "DONE": 0}
    assert (await client.get(f"/tracking/sms_transfers/{GONE}")).status_code == 404
    assert writers.may_be(writers.rounds, "remove", 204)
    assert await stored(database_url, "SELECT UBID, count(*) FROM sms_documents GROUP BY UBID") == [(UBID, 9000)]


async def assert_imports_report_each_day_once(database_url: str, lines: list[str], *shown: dict[str, str]) -> None:
    rows = rows_of(lines)
    query = "SELECT source, quote, day, rate FROM exchange_rate WHERE source = 'ecb'"
    assert sorted(await stored(database_url, query)) == rows
    assert sum(int(table["Rates"].split()[0]) for table in shown) == len(rows)
    audit = await stored(database_url, "SELECT changes FROM audit WHERE action = 'IMPORT_RATES'")
    reported = [json.loads(row[0]) for row in audit]
    assert sum(changes["rates"]["after"] for changes in reported) == len(rows)
    spans = sorted((date.fromisoformat(c["from"]["after"]), date.fromisoformat(c["to"]["after"])) for c in reported)
    assert all(end < begin for (_, end), (begin, _) in pairwise(spans))
