"""Exceptions of all kinds at random calls of the drivers and of the sources."""

import pytest

from checks.support.faulty_run import run_with_faults

FAULTS = 1000


@pytest.mark.row("4.19 random exceptions of driver and sources")
@pytest.mark.timeout(600)
async def test_random_faults_are_503_and_everything_goes_on(settings, upstream, monkeypatch, is_full, figure):
    """Broken on purpose: without the listener for errors of the driver most of them were 500."""
    run = await run_with_faults(settings, upstream, monkeypatch, total=FAULTS if is_full else 100, seed=19)
    run.assert_nothing_was_wrong()
    figure(run.figure())
