"""Calls this service's own API, with retries."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import httpx
import stamina

from app import __version__
from app.core.http.problems import in_one_line
from app.sources.chain import SourceFailed
from app.sources.client import BadStatus, Busy, PassingFault, _parse, _seconds

_API_BUSY: Final = frozenset({429, 502, 503, 504})
"""Without 500: an API that fails on what we sent fails on it again. A proxy says 502 and 504 while the API restarts."""


_API_SECONDS: Final = 30


class Refused(BadStatus):
    """An API answered with an error that stays."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(status)
        self.args = (f"answered {status}: {why}" if why else f"answered {status}",)


def create_api_client(url: str, key: str | None) -> httpx.AsyncClient:
    """A client of an API such as this service's own; close it at the end.

    Args:
        url: What all paths are below.
        key: Sent in ``X-API-Key``; None sends none.
    """
    return httpx.AsyncClient(
        base_url=url,
        headers={"User-Agent": f"country-data-currency-exchange-api/{__version__}", "Accept": "application/json"}
        | ({"X-API-Key": key} if key else {}),
        follow_redirects=False,
        trust_env=False,
        timeout=_API_SECONDS,
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
    """Send a request for which twice is the same as once, and give the JSON of its answer.

    Passing faults are tried again, with backoff and as ``Retry-After`` wants it.

    Args:
        api: From create_api_client().
        method: Of HTTP.
        path: Below the API's address.
        content: JSON; None sends no body.
        patience: Seconds after which a fault is not tried again.
        on_retry: Called before each retry.

    Raises:
        Refused: The API answered with an error that stays.
        SourceFailed: There is no answer that can be used.
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
        raise PassingFault(f"no answer within {_API_SECONDS} s") from error
    except httpx.TransportError as error:
        broken = "could not connect" if isinstance(error, httpx.ConnectError) else "the connection broke"
        raise PassingFault(broken) from error
    except httpx.HTTPError as error:
        raise SourceFailed(f"the request failed ({type(error).__name__})") from error
    if response.status_code in _API_BUSY:
        raise Busy(response.status_code, _seconds(response.headers.get("Retry-After")))
    if not response.is_success:
        raise Refused(response.status_code, _why(response.content))
    return _parse(response.content)


def _why(body: bytes) -> str:
    """An error of the shape ``{"error", "details"}`` as one line; empty where it has another shape."""
    try:
        error = _parse(body)
    except SourceFailed:
        return ""
    if not isinstance(error, dict):
        return ""
    details = error.get("details") or ""
    told = f"{error.get('error', '')}: {in_one_line(details)}" if details else str(error.get("error", ""))
    return " ".join(told.split())[:500]
