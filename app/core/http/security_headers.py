"""Security headers of answers."""

from collections.abc import Sequence
from typing import Final

ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
"""On every answer: no type sniffing, no frames, no referrer.

Pages get a Content-Security-Policy as well. HSTS is left to the proxy that offers HTTPS.
"""


def page_policy(*, scripts: Sequence[str] = ()) -> str:
    """The Content-Security-Policy of a page that loads nothing from elsewhere; ``scripts`` are hashes of its own."""
    parts = {
        "default-src": "'none'",
        "script-src": " ".join(("'self'", *scripts)),
        "style-src": "'self' 'unsafe-inline'",  # Swagger UI and ReDoc write styles as they go
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "blob:",  # ReDoc searches in one
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in parts.items())
