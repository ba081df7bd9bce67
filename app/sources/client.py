"""The HTTP client for sources: reads documents within limits of time and memory, whatever a source sends."""

import asyncio
import json
import math
import re
import ssl
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import stamina

from app import __version__
from app.sources.chain import SourceFailed

if TYPE_CHECKING:
    import httpx

HttpClient = Callable[[], "httpx.AsyncClient"]
"""Returns the client; the first call creates it."""
_REDIRECTS: Final = 3
_LONGEST_INTEGER: Final = 18
_BYTES_OF_A_VALUE: Final = 48
"""The least that a JSON value counts for: one of two bytes takes up to 150 bytes of memory."""
_MARKS_OF_JSON: Final = b",[{"
"""Each value follows a comma or opens, or is the first in, a list or object."""
_MARKS_OF_XML: Final = b"<="
"""Each element begins with the first, each attribute has the second."""
_BEFORE_TEXT: Final = b"\xef\xbb\xbf\xff\xfe\x00"
"""Byte order marks, and the zeros of a first character in UTF-16 and UTF-32."""
_MOST_ERROR_BYTES: Final = 16_384
_ERROR_SECONDS: Final = 0.5
"""How long to wait for the body of an answer that already failed by its status."""
_NOT_JSON: Final = "answered with something that is not JSON"
_RETRIED_STATUS: Final = frozenset({429, 500, 502, 503, 504})


@asynccontextmanager
async def create_http_client() -> AsyncIterator[HttpClient]:
    """The HTTP client for all sources; created by the first request, because it loads httpx and the CA file."""

    @cache
    def client() -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415  # 40 ms and 6 MB of a start, with all that it imports

        return httpx.AsyncClient(
            headers={
                "User-Agent": f"country-data-currency-exchange-api/{__version__}",
                "Accept": "application/json",
                # The only encoding that _read() can decompress in bounded steps.
                "Accept-Encoding": "gzip",
            },
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113  # get_document bounds the whole exchange, which no single httpx timeout does
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=4),
        )

    try:
        yield client
    finally:
        if client.cache_info().currsize:
            await client().aclose()


class PassingFault(SourceFailed):
    """A failure that a retry may cure: the connection broke, or the upstream is busy."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds to wait as the upstream asked; None without a valid ``Retry-After``."""


class BadStatus(SourceFailed):
    """The upstream answered with a status of failure that a retry does not change."""

    def __init__(self, status: int, reason: str = "", *, content: Any = None) -> None:
        super().__init__(f"answered {status}" + (f": {reason}" if reason else ""))
        self.status = status
        self.content = content
        """The JSON document that came with the status; None without a short one."""


class Document(NamedTuple):
    """A parsed document."""

    content: Any
    """What ``parse`` made of it; in JSON, integers with more than 18 digits are infinite floats."""
    weight: int
    """Bytes after decompression, or 48 per value if that is more."""


async def get_json(
    http: HttpClient, url: str, *, timeout: float, max_bytes: int, headers: Mapping[str, str] | None = None
) -> Document:
    """Fetch and parse one JSON document, as ``get_document()`` does."""
    return await get_document(http, url, parse_json, timeout=timeout, max_bytes=max_bytes, headers=headers)


async def get_document(
    http: HttpClient,
    url: str,
    parse: Callable[[str], Any],
    *,
    timeout: float,
    max_bytes: int,
    headers: Mapping[str, str] | None = None,
) -> Document:
    """Fetch and parse one document, following redirects to the same host only.

    Temporary failures are retried twice, with backoff or after ``Retry-After``.

    Args:
        http: From create_http_client().
        url: Address of the document.
        parse: Called with the text, in a thread. Must refuse XML with anything before its first ``<``, because only
            documents that begin with one are weighed as XML.
        timeout: Seconds for everything, including retries.
        max_bytes: Limit for the weight of the document.
        headers: Sent in addition to the client's own, or in place of one with the same name.

    Raises:
        SourceFailed: Anything went wrong; the text contains neither path nor query.
    """
    deadline = asyncio.get_running_loop().time() + timeout
    last = ""

    def pause_before_retry(error: Exception) -> bool | float:
        nonlocal last
        last = f"{error}, then " if isinstance(error, SourceFailed) else last
        if not isinstance(error, PassingFault) or error.retry_after is None:
            return isinstance(error, PassingFault)
        # Waiting beyond the deadline would hide the upstream's answer behind a timeout.
        return error.retry_after if asyncio.get_running_loop().time() + error.retry_after < deadline else False

    try:
        async with asyncio.timeout_at(deadline):
            async for attempt in stamina.retry_context(
                on=pause_before_retry, attempts=3, timeout=None, wait_initial=0.2, wait_max=2, wait_jitter=0.2
            ):
                with attempt:
                    body = await _get(http, url, headers or {}, max_bytes)
                    is_xml = body[:8].lstrip(_BEFORE_TEXT).startswith(b"<")
                    most_values = sum(map(body.count, _MARKS_OF_XML if is_xml else _MARKS_OF_JSON))
                    weight = max(len(body), _BYTES_OF_A_VALUE * most_values)
                    if weight > max_bytes:
                        raise SourceFailed(f"answered with more values than fit into {max_bytes:,} bytes")
                    # In a thread, because parsing megabytes would delay every other request.
                    return Document(await asyncio.to_thread(_parse_and_clear, body, parse), weight)
    except TimeoutError as error:
        raise SourceFailed(f"{last}timed out after {round(timeout, 1):g} s") from error
    raise AssertionError("the last attempt returns or raises")


async def _get(http: HttpClient, url: str, headers: Mapping[str, str], max_bytes: int) -> bytearray:
    await asyncio.to_thread(import_module, "httpx")  # here it would delay every other request
    import httpx  # noqa: PLC0415

    try:
        target = place = httpx.URL(url)
        for _ in range(_REDIRECTS + 1):
            async with http().stream("GET", target, headers=dict(headers)) as response:
                if response.next_request is None:
                    return await _read(response, max_bytes)
                target = response.next_request.url
                if (target.scheme, target.host, target.port) != (place.scheme, place.host, place.port):
                    raise SourceFailed(f"answered {response.status_code}, a redirect to another host")
    except httpx.ConnectError as error:
        raise PassingFault(f"could not connect{_tls_reason(error)}") from error
    except httpx.TransportError as error:
        raise PassingFault(f"the connection failed ({type(error).__name__})") from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: a host that is not valid IDNA
        raise SourceFailed(f"the request failed ({type(error).__name__})") from error
    raise SourceFailed(f"redirected more than {_REDIRECTS} times")


def _tls_reason(error: BaseException) -> str:
    """What was wrong with TLS or the certificate, in parentheses; empty for other errors."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f" ({cause.verify_message})"
    return f" (TLS: {cause.reason})" if cause is not None else ""


async def _read(response: "httpx.Response", max_bytes: int) -> bytearray:
    """The body of a successful answer."""
    if response.status_code in _RETRIED_STATUS:
        retry_after = parse_retry_after(response.headers.get("Retry-After"))
        raise PassingFault(f"answered {response.status_code}", retry_after)
    if response.status_code != 200:
        raise BadStatus(response.status_code, content=await _error_document(response))
    return await _collect(response, max_bytes)


async def _error_document(response: "httpx.Response") -> Any:
    """The JSON document that explains a status; None without a short one."""
    import httpx  # noqa: PLC0415

    try:
        async with asyncio.timeout(_ERROR_SECONDS):
            return parse_json(bytes(await _collect(response, _MOST_ERROR_BYTES)))
    except (SourceFailed, TimeoutError, httpx.HTTPError):
        return None


async def _collect(response: "httpx.Response", max_bytes: int) -> bytearray:
    """Collect the body and decompress gzip, never holding more than the limit."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() not in ("identity", "gzip", "x-gzip"):
        raise SourceFailed(f"answered in the encoding {encoding[:20]!r}, which was not requested")
    unzip = None if encoding.lower() == "identity" else zlib.decompressobj(wbits=31)
    content = bytearray()
    async for chunk in response.aiter_raw():
        try:
            content += unzip.decompress(chunk, max_bytes + 1 - len(content)) if unzip else chunk
        except zlib.error as error:
            raise SourceFailed("answered with broken gzip") from error
        if unzip and unzip.unused_data:  # zlib would collect it, without a limit
            raise SourceFailed("answered with data after the end of its gzip")
        if len(content) > max_bytes:
            raise SourceFailed(f"answered with more than {max_bytes:,} bytes")
    if unzip and not unzip.eof:
        raise SourceFailed("answered with truncated gzip")
    return content


def parse_retry_after(retry_after: str | None) -> float | None:
    """Seconds from now, from a number or an HTTP date; None if missing or invalid."""
    if not retry_after:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", retry_after, re.ASCII):
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after).astimezone(UTC)
    except (ValueError, OverflowError):  # not a date, or one that UTC puts beyond the year 9999
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _parse_and_clear(body: bytearray, parse: Callable[[str], Any]) -> Any:
    # A single character can make the text four times as large as the bytes, so free these before parsing.
    if not body.strip():
        raise SourceFailed("answered with an empty body")
    try:
        text = body.decode(json.detect_encoding(body), "surrogatepass")
    except UnicodeError as error:
        raise SourceFailed(_NOT_JSON) from error
    body.clear()
    return parse(text)


def parse_json(body: bytes | str) -> Any:
    """Parse JSON; integers with more than 18 digits become infinite floats.

    Raises:
        SourceFailed: It is not JSON.
    """
    try:
        return json.loads(body, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise SourceFailed(_why_not_json(body, error)) from error


def _why_not_json(body: bytes | str, error: Exception) -> str:
    if body[:100].lstrip()[:1] in (b"<", "<"):
        return "answered with XML or HTML that is not a known format"
    if isinstance(error, json.JSONDecodeError) and body[:100].lstrip()[:1] in (b"{", b"[", "{", "["):
        is_cut = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
        return "answered with JSON that ends in the middle" if is_cut else _NOT_JSON
    return _NOT_JSON


def _integer(digits: str) -> int | float:
    # Python refuses to convert thousands of digits; one such field must not fail the whole document.
    return int(digits) if len(digits) <= _LONGEST_INTEGER else math.copysign(math.inf, -1 if digits[0] == "-" else 1)


def with_query(url: str, **parameters: int | str) -> str:
    """Add or replace query parameters of a URL.

    Raises:
        SourceFailed: The URL is invalid.
    """
    import httpx  # noqa: PLC0415

    try:
        return str(httpx.URL(url).copy_merge_params(parameters))
    except httpx.InvalidURL as error:
        raise SourceFailed("its address is not a URL") from error
