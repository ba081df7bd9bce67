"""The whole service with random exceptions of all kinds in driver and sources; scripts/checks faults injects 1,000."""

from checks.support.faulty_run import run_with_faults


async def test_random_faults_are_503_and_everything_goes_on(settings, upstream, monkeypatch):
    run = await run_with_faults(settings, upstream, monkeypatch, total=60, seed=16)

    run.assert_nothing_was_wrong()
