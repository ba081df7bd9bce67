"""What answers tell a browser about what it must not do with them."""

from collections.abc import Sequence
from typing import Final

ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
"""On every answer: believe its type, show it in no frame, and tell nobody where a link was followed.

The rest is for pages, which alone can load something. Whether HTTPS is
demanded (HSTS) is a matter of the proxy that offers it.
"""


def page_policy(*, scripts: Sequence[str] = ()) -> str:
    """The Content-Security-Policy of a page that loads nothing from elsewhere.

    Args:
        scripts: Hashes of the scripts that stand in it.
    """
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
