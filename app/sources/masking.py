"""Keeps the secrets of a source's address out of what is shown of its answers."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from app.core.telemetry.log import hiding
from app.sources.chain import SourceFailed
from app.sources.client import BadStatus
from app.sources.source_errors import error_code


@contextmanager
def explained_failures(secrets: Iterable[str]) -> Iterator[None]:
    """Add the known error code to the reason of a failed source, and hide the secrets of its address there."""
    try:
        yield
    except SourceFailed as failure:
        reason = str(failure)
        if isinstance(failure, BadStatus) and (code := error_code(failure.content)) not in ("", str(failure.status)):
            reason = f"{reason}: {code}"
        failure.args = (hiding(secrets)(reason),)
        raise
