"""Calls the audit webhook."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from app.sources.chain import SourceFailed
from app.sources.client import BadStatus


async def post_json(http: httpx.AsyncClient, url: str, content: Mapping[str, Any], *, timeout: float) -> None:
    """Send one JSON document, without retries; the body of the answer is not read.

    Raises:
        SourceFailed: No answer within ``timeout`` seconds, or not a 2xx status.
    """
    try:
        async with asyncio.timeout(timeout), http.stream("POST", url, json=content) as response:
            if not response.is_success:
                raise BadStatus(response.status_code)
    except TimeoutError as error:
        raise SourceFailed(f"timed out after {timeout:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceFailed(f"could not be reached ({type(error).__name__})") from error
