"""``python -m app doctor``: runs all checks and prints the findings."""

from typing import Final

import typer
from rich.table import Table
from rich.text import Text

from app.cli.doctor.findings import Finding, Verdict, failed, worst
from app.cli.doctor.settings import check_settings
from app.cli.doctor.sources import check_sources
from app.cli.doctor.storage import check_storage
from app.cli.terminal import JsonOption, read_settings_without_log, run, show, show_json
from app.core.config.settings import Settings
from app.core.telemetry.log import hiding

_STYLES: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def doctor(*, as_json: JsonOption = False) -> None:
    """Check settings, database, migrations, sources and data, and give advice. Changes nothing.

    Each source is asked once, for at most five seconds. Exit code 1 if a check fails; warnings do not count.
    """
    findings = _examine()
    verdict = worst(findings)
    if as_json:
        show_json({"verdict": verdict, "checks": findings})
    else:
        show(_table(findings))
    if verdict is Verdict.FAIL:
        raise typer.Exit(1)


def _examine() -> list[Finding]:
    try:
        settings = read_settings_without_log()
    except SystemExit as wrong:  # the text is the same as in other commands; nothing else can be checked
        lines = str(wrong).splitlines()
        advice = "correct it in the environment or in .env; docs/configuration.md describes every setting"
        return [failed("settings", line.removeprefix("Wrong setting: "), advice) for line in lines]
    found = run(_check(settings), doing="Checking the database and the sources")
    hide = hiding(settings.secrets)
    return [finding.hidden(hide) for finding in (*check_settings(settings), *found)]


async def _check(settings: Settings) -> list[Finding]:
    storage, known = await check_storage(settings)
    return [*storage, *await check_sources(settings, known)]


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        advice = f"; {finding.advice}" if finding.advice else ""
        says = Text.assemble((finding.check, "bold"), f": {finding.says}{advice}")
        table.add_row(Text(finding.verdict, _STYLES[finding.verdict]), says)
    return table
