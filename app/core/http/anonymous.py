"""Callers without a credential: whether they are on this machine, and whether another web site sends them.

A web page can make a browser on this machine send requests. By DNS rebinding it can even pass for the service itself:
its host name then resolves to this machine, but the browser still sends that name in ``Host``.
"""

import re
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from app.core.config.addresses import is_loopback

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]]+))(?::\d*)?")
_SAME_SITE: Final = frozenset({"same-origin", "none"})


def is_local(scope: Scope, *, public_host: str | None) -> bool:
    """Whether a request comes from this machine itself: not through a proxy, and not by DNS rebinding.

    This holds for trusted proxies too, because what they forward comes from elsewhere. A connection over a Unix socket
    has no address and counts as local.
    """
    headers = Headers(scope=scope)
    if any(name in ("forwarded", "via", "x-real-ip") or name.startswith("x-forwarded-") for name in headers):
        return False
    client = scope.get("client")
    hosts = headers.getlist("host")
    return (client is None or is_loopback(client[0])) and len(hosts) == 1 and _is_own_name(hosts[0], public_host)


def _is_own_name(host: str, public_host: str | None) -> bool:
    """Whether no stranger can make this name resolve to this machine: IP addresses and names without a dot."""
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return False
    name = match[1] or match[2]
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name == public_host
    return True


def is_cross_site(scope: Scope, *, origins: Collection[str]) -> bool:
    """Whether a browser sends a request for a page of another site than this one.

    Browsers say so in ``Sec-Fetch-Site``; over plain HTTP, unless the host is loopback, only in ``Origin``.

    Args:
        scope: The request.
        origins: Origins that count as this site.
    """
    headers = Headers(scope=scope)
    if len(headers.getlist("origin")) > 1:
        return True
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin in origins:
        return False
    if site is not None:
        return site not in _SAME_SITE
    return origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower()
