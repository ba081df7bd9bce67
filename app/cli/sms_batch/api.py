"""Calls this service's own API, with retries."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httpx
import stamina

from app import __version__
from app.core.errors import in_one_line
from app.sources.chain import SourceFailed
from app.sources.client import BadStatus, Busy, PassingFault, parse_json, parse_retry_after

_RETRIED_STATUS: Final = frozenset({429, 502, 503, 504})
"""Not 500: the same request would fail again. A proxy answers 502 or 504 while the service restarts."""
_TIMEOUT_SECONDS: Final = 30


class Refused(BadStatus):
    """The service answered with an error that a retry does not change."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status)
        if why:
            self.args = (f"answered {status}: {why}",)


def create_api_client(url: str, key: str | None) -> httpx.AsyncClient:
    """The HTTP client for ``call_api()``; close it at the end.

    Args:
        url: Address of the service; paths are relative to it.
        key: Sent in ``X-API-Key``; None sends none.
    """
    return httpx.AsyncClient(
        base_url=url,
        headers={"User-Agent": f"country-data-currency-exchange-api/{__version__}", "Accept": "application/json"}
        | ({"X-API-Key": key} if key else {}),
        follow_redirects=False,
        trust_env=False,
        timeout=_TIMEOUT_SECONDS,
    )


async def call_api(
    api: httpx.AsyncClient,
    method: str,
    path: str,
    content: bytes | None = None,
    *,
    patience: float,
    on_retry: Callable[[], None],
) -> Any:
    """Send an idempotent request, and return the JSON of the answer.

    Temporary failures are retried with backoff, or after ``Retry-After``.

    Args:
        api: From create_api_client().
        method: HTTP method.
        path: Relative to the address of the service.
        content: JSON; None sends no body.
        patience: Seconds after which a failure is no longer retried.
        on_retry: Called before each retry.

    Raises:
        Refused: The service answered with an error that a retry does not change.
        SourceFailed: There is no usable answer; the text continues "the service ...".
    """
    deadline = asyncio.get_running_loop().time() + patience

    def pause_before_retry(error: Exception) -> bool | float:
        pause = error.retry_after if isinstance(error, PassingFault) else None
        if not isinstance(error, PassingFault) or asyncio.get_running_loop().time() + (pause or 0) >= deadline:
            return False
        on_retry()
        return True if pause is None else pause

    async for attempt in stamina.retry_context(
        on=pause_before_retry, attempts=None, timeout=None, wait_initial=0.2, wait_max=5, wait_jitter=0.2
    ):
        with attempt:
            return await _call(api, method, path, content)
    raise AssertionError("the last attempt returns or raises")


async def _call(api: httpx.AsyncClient, method: str, path: str, content: bytes | None) -> Any:
    headers = {} if content is None else {"Content-Type": "application/json"}
    try:
        response = await api.request(method, path, content=content, headers=headers)
    except httpx.TimeoutException as error:
        raise PassingFault(f"did not answer within {_TIMEOUT_SECONDS} s") from error
    except httpx.TransportError as error:
        is_down = isinstance(error, httpx.ConnectError)
        raise PassingFault("could not be reached" if is_down else "closed the connection") from error
    except httpx.HTTPError as error:
        raise SourceFailed(f"could not be asked ({type(error).__name__})") from error
    if response.status_code in _RETRIED_STATUS:
        raise Busy(response.status_code, parse_retry_after(response.headers.get("Retry-After")))
    if not response.is_success:
        raise Refused(response.status_code, _why(response.content))
    return parse_json(response.content)


def _why(body: bytes) -> str:
    """An error of the shape ``{"error", "details"}`` in one line; empty for any other body."""
    try:
        error = parse_json(body)
    except SourceFailed:
        return ""
    if not isinstance(error, dict):
        return ""
    details = error.get("details") or ""
    text = f"{error.get('error', '')}: {in_one_line(details)}" if details else str(error.get("error", ""))
    return " ".join(text.split())[:500]
