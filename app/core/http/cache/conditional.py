"""Conditional requests by entity tag (RFC 9110, 13)."""

import hashlib
import re
from collections.abc import Mapping
from typing import Final

from app.core.errors import AppError

_TAG: Final = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class PreconditionFailed(AppError):
    """``If-Match`` does not match the current ``ETag``."""

    status_code = 412
    title = "Precondition failed"


def entity_tag(body: bytes) -> bytes:
    """A strong tag: equal bytes have equal tags in every process."""
    return b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()


def is_not_modified(fields: Mapping[bytes, bytes], tag: bytes) -> bool:
    """Decide between 304 and the whole answer, which has this tag; repeated ``fields`` of the request are joined.

    ``If-Modified-Since`` is ignored, because no answer has a ``Last-Modified``.

    Raises:
        PreconditionFailed: There is an ``If-Match`` that does not hold.
    """
    require_match(fields.get(b"if-match"), tag)
    wanted = fields.get(b"if-none-match")
    return wanted is not None and (wanted == tag or _names(wanted, tag, weakly=True))


def require_match(wanted: bytes | None, tag: bytes) -> None:
    """Check an ``If-Match``, repeated ones joined, against the current tag; None always holds.

    Raises:
        PreconditionFailed: It names other tags.
    """
    if wanted is not None and not _names(wanted, tag, weakly=False):
        raise PreconditionFailed({"If-Match": f"has changed since you read it; its ETag is now {tag.decode()}"})


def _names(value: bytes, tag: bytes, *, weakly: bool) -> bool:
    """Whether a list of tags, or ``*``, names this strong tag."""
    if value.strip() == b"*":
        return True
    return any(found == tag and (weakly or not weak) for weak, found in _TAG.findall(value))
