"""Whether the settings are safe, and are those that somebody meant."""

import ipaddress
import os
from difflib import get_close_matches
from pathlib import Path

from dotenv import dotenv_values

from app.cli.doctor.findings import Finding, ok, warn
from app.core.config.settings import Settings

_NAMES = [name.upper() for name in Settings.model_fields]


def check_settings(settings: Settings) -> list[Finding]:
    """What can be said of settings that are valid."""
    return [_access(settings), *_misspelt()]


def _access(settings: Settings) -> Finding:
    if settings.admin_api_key is not None:
        return ok("settings", f"{settings.environment}, changes need a key or a sign-in")
    if _is_loopback(settings.host):
        return ok("settings", f"development, no ADMIN_API_KEY: whoever reaches {settings.host} may change everything")
    return warn(
        "settings",
        f"no ADMIN_API_KEY, and HOST is {settings.host}: whoever reaches it may change everything",
        "set ADMIN_API_KEY (openssl rand -hex 32 makes one) and ENVIRONMENT=production",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _misspelt() -> list[Finding]:
    """Names in the environment and in .env that are nearly those of settings, and mean nothing."""
    given = {*os.environ, *(dotenv_values(".env") if Path(".env").is_file() else ())}
    found = []
    for name in sorted(given - set(_NAMES)):
        meant = get_close_matches(name.upper(), _NAMES, n=1, cutoff=0.85)
        if meant and name.upper() not in _NAMES:
            found.append(warn("settings", f"{name} is no setting", f"did you mean {meant[0]}?"))
    return found
