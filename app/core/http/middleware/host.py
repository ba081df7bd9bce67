"""The header Host: required once (RFC 9112, 3.2)."""

import re
from functools import lru_cache
from typing import Final

from app.core.errors import ValidationFailed
from app.core.http.middleware.admission import PendingRequest

_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+;=-]*)(:[0-9]{0,5})?")


@lru_cache(maxsize=64)
def is_host(value: bytes) -> bool:
    """Whether this is a name or an address of a host, with or without a port."""
    return _HOST.fullmatch(value) is not None


async def check_host(request: PendingRequest) -> None:
    """Check: a request of HTTP/1.1 names its host, and none names two.

    Servers and proxies that take different ones of two are how requests are smuggled, and caches poisoned.

    Raises:
        ValidationFailed: The header is missing, repeated, or names no host.
    """
    scope = request.scope
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) > 1 or (not hosts and scope["http_version"] == "1.1"):
        raise ValidationFailed({"Host": "is given more than once" if hosts else "is required"})
    if hosts and not is_host(hosts[0]):
        raise ValidationFailed({"Host": "must be a host name or an IP address, with or without a port"})
