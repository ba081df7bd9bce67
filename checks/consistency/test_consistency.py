"""Reads during refreshes through two processes: every response is complete and as recent as promised."""

import pytest

from checks.consistency.ledger import Ledger
from checks.consistency.readers import Exchange
from checks.support.processes import started

REVALIDATE_SECONDS = 1.0
PROCESSES = 2


@pytest.mark.row("reads through 2 processes during refreshes")
async def test_reads_during_refreshes_are_complete_and_as_recent_as_promised(new_process, upstream, figure, is_full):
    reads, refreshes = (10_000, 50) if is_full else (1_000, 5)
    processes = [new_process(cache_revalidate_seconds=REVALIDATE_SECONDS) for _ in range(PROCESSES)]
    ledger = Ledger(REVALIDATE_SECONDS)

    async with started(*processes):
        await Exchange([process.url for process in processes], upstream, ledger).run(reads=reads, refreshes=refreshes)

    assert ledger.problems() == []
    assert ledger.not_modified, "no answer was a 304, so entity tags were not checked"
    figure(
        f"{ledger.reads:,} reads during {refreshes} refreshes: none mixed, too old or wrong; "
        f"{ledger.not_modified:,} answers were 304"
    )
