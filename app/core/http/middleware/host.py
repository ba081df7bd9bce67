"""The header Host: required once (RFC 9112, 3.2)."""

from app.core.errors import ValidationFailed
from app.core.http.middleware.admission import PendingRequest


async def check_host(request: PendingRequest) -> None:
    """Check: a request of HTTP/1.1 names its host, and none names two.

    Servers and proxies that take different ones of two are how requests are smuggled, and caches poisoned.

    Raises:
        ValidationFailed: The header is missing or repeated.
    """
    scope = request.scope
    number = sum(name == b"host" for name, _ in scope["headers"])
    if number > 1 or (number == 0 and scope["http_version"] == "1.1"):
        raise ValidationFailed({"Host": "is given more than once" if number else "is required"})
