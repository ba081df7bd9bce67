"""``python -m app doctor``: runs all checks and prints the findings."""

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import typer
from dotenv import dotenv_values

from app.cli.doctor.findings import Finding, Verdict, failed, ok, warn, worst
from app.cli.doctor.sources import check_sources
from app.cli.doctor.storage import check_storage
from app.cli.terminal import JsonOption, new_table, read_settings_without_log, run, show, show_json
from app.core.config.addresses import is_loopback
from app.core.config.env_file import ENCODING, NAME
from app.core.config.settings import Settings
from app.core.telemetry.log import hiding

_STYLES: Final = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}
_NAMES = [name.upper() for name in Settings.model_fields]


def doctor(*, as_json: JsonOption = False) -> None:
    """Check settings, database, migrations, sources and data, and give advice. Changes nothing.

    Each source is asked once, for at most five seconds. Exit code 1 if a check fails; warnings do not count.
    """
    findings = _examine()
    verdict = worst(findings)
    if as_json:
        show_json({"verdict": verdict, "checks": findings})
    else:
        _show_table(findings)
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
    return [finding.hidden(hide) for finding in (_access(settings), *_misspelled(), *found)]


async def _check(settings: Settings) -> list[Finding]:
    storage, known = await check_storage(settings)
    return [*storage, *await check_sources(settings, known)]


def _access(settings: Settings) -> Finding:
    if settings.allow_anonymous is not None:
        says = f"{settings.environment}, ALLOW_ANONYMOUS={settings.allow_anonymous}: open to anyone"
        return warn("settings", says, "unset ALLOW_ANONYMOUS to let only accounts and ADMIN_API_KEY make changes")
    if settings.admin_api_key is not None:
        return ok("settings", f"{settings.environment}, changes need a key or a sign-in")
    if is_loopback(settings.host):
        return ok("settings", "development, no ADMIN_API_KEY: anyone on this machine may change everything")
    return failed(
        "settings",
        f"no ADMIN_API_KEY, and HOST is {settings.host}: serve refuses to start",
        "set ADMIN_API_KEY (openssl rand -hex 32 makes one) and ENVIRONMENT=production",
    )


def _misspelled() -> list[Finding]:
    """Unknown names in the environment and in .env that are similar to a setting's."""
    names = {*os.environ, *(dotenv_values(NAME, encoding=ENCODING) if Path(NAME).is_file() else ())}
    unknown = sorted(name for name in names if name.upper() not in _NAMES)
    meant = {name: get_close_matches(name.upper(), _NAMES, n=1, cutoff=0.85) for name in unknown}
    return [warn("settings", f"unknown setting {name}", f"did you mean {m[0]}?") for name, m in meant.items() if m]


def _show_table(findings: list[Finding]) -> None:
    from rich.text import Text  # noqa: PLC0415

    table = new_table(show_header=False, pad_edge=False)
    for finding in findings:
        advice = f"; {finding.advice}" if finding.advice else ""
        says = Text.assemble((finding.check, "bold"), f": {finding.says}{advice}")
        table.add_row(Text(finding.verdict, _STYLES[finding.verdict]), says)
    show(table)
