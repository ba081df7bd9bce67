"""Checks whether the settings are safe, and whether their names are misspelled."""

import ipaddress
import os
from difflib import get_close_matches
from pathlib import Path

from dotenv import dotenv_values

from app.cli.doctor.findings import Finding, ok, warn
from app.core.config.settings import Settings

_NAMES = [name.upper() for name in Settings.model_fields]


def check_settings(settings: Settings) -> list[Finding]:
    """Check settings that are valid."""
    return [_access(settings), *_misspelled()]


def _access(settings: Settings) -> Finding:
    if settings.admin_api_key is not None:
        return ok("settings", f"{settings.environment}, changes need a key or a sign-in")
    if _is_loopback(settings.host):
        return ok(
            "settings", f"development, no ADMIN_API_KEY: anyone who can reach {settings.host} may change everything"
        )
    return warn(
        "settings",
        f"no ADMIN_API_KEY, and HOST is {settings.host}: anyone who can reach it may change everything",
        "set ADMIN_API_KEY (openssl rand -hex 32 makes one) and ENVIRONMENT=production",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _misspelled() -> list[Finding]:
    """Unknown names in the environment and in .env that are similar to a setting's."""
    names = {*os.environ, *(dotenv_values(".env") if Path(".env").is_file() else ())}
    found = []
    for name in sorted(names - set(_NAMES)):
        meant = get_close_matches(name.upper(), _NAMES, n=1, cutoff=0.85)
        if meant and name.upper() not in _NAMES:
            found.append(warn("settings", f"unknown setting {name}", f"did you mean {meant[0]}?"))
    return found
