"""What is wrong, in the answers by which sources report an error."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_WORDS: Final = frozenset(
    {
        # ExchangeRate-API
        *("unsupported-code", "malformed-request", "invalid-key", "inactive-account", "quota-reached"),
        *("plan-upgrade-required", "no-data-available"),
        # Open Exchange Rates
        *("not_found", "missing_app_id", "invalid_app_id", "not_allowed", "access_restricted", "invalid_base"),
        # Fixer, currencylayer and exchangeratesapi
        *("missing_access_key", "invalid_access_key", "inactive_user", "invalid_api_function", "usage_limit_reached"),
        *("monthly_limit_reached", "monthly_usage_limit_reached", "rate_limit_reached", "function_access_restricted"),
        *("https_access_restricted", "base_currency_access_restricted", "invalid_base_currency"),
        *("invalid_source_currency", "invalid_currency_codes", "no_rates_available", "no_results"),
        # Coinbase and others
        *("invalid_request", "rate_limit_exceeded", "internal_server_error", "validation_error", "invalid_api_key"),
        *("missing_api_key", "account_suspended", "bad_request", "unauthorized", "forbidden"),
    }
)
"""Error codes of known APIs. No other text is shown, because it may repeat the address or the key of the request."""
_LARGEST_NUMBER: Final = 9999


def error_of(body: Any) -> str | None:
    """What an answer says is wrong, as a reason for a failed source; None if it does not report an error."""
    if not isinstance(body, dict):
        return None
    result = body.get("result", "success")
    is_error = (isinstance(result, str) and result != "success") or body.get("success") is False
    if not is_error and not body.get("error") and not body.get("errors"):
        return None
    return f"answered with the error {word}" if (word := error_code(body)) else "answered with an error"


def error_code(body: Any) -> str:
    """The error code in an answer, if it is a known word or a number of at most four digits; empty otherwise."""
    numbers = []
    for value in _candidates(body) if isinstance(body, dict) else ():
        if isinstance(value, str) and value in _WORDS:
            return value
        if isinstance(value, int) and 0 < value <= _LARGEST_NUMBER and not isinstance(value, bool):
            numbers.append(str(value))
    return next(iter(numbers), "")


def _candidates(body: Mapping[str, Any]) -> Iterator[Any]:
    errors = body.get("errors")
    for part in (body, body.get("error"), errors[0] if isinstance(errors, list) and errors else None):
        if isinstance(part, dict):
            yield from (part.get(name) for name in ("error-type", "type", "id", "code", "message", "error"))
