"""The base of all errors that a client sees as ``{"error": title, "details": ...}``, and those that any part raises."""

from collections.abc import Mapping


class AppError(Exception):
    """A failure that is shown to the client; subclasses set the status and the title."""

    status_code = 500
    title = "Internal server error"
    retry_after_seconds: int | None = None
    """Sent as ``Retry-After``; None if trying again does not help."""

    def __init__(
        self, details: str | dict[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(details or self.title)
        self.details = details
        self.headers = dict(headers or {})
        if self.retry_after_seconds is not None:
            self.headers.setdefault("Retry-After", str(self.retry_after_seconds))


class ValidationFailed(AppError):
    """The request is invalid; details name the field."""

    status_code = 400
    title = "Validation failed"


class Unauthorized(AppError):
    """The request needs a valid credential and has none."""

    status_code = 401
    title = "Unauthorized"


class DatabaseUnavailable(AppError):
    """The database gave no answer in time."""

    status_code = 503
    title = "Database unavailable"
    retry_after_seconds = 2


class UpstreamUnavailable(AppError):
    """No source of a chain gave a usable answer."""

    status_code = 503
    title = "External data source unavailable"
    retry_after_seconds = 30

    def __init__(self, api: str, reason: str) -> None:
        """Name the API ("country API") and say, source by source, what was wrong."""
        super().__init__(f"Could not fetch data from {api} ({reason})")


def in_one_line(details: object) -> str:
    """Details of an error for a terminal; those of another service may be anything."""
    if isinstance(details, dict):
        return "; ".join(f"{name} {problem}" for name, problem in details.items())
    return str(details)
