"""Fetches the newest rates from an address in any of the known formats."""

import re
from datetime import date, timedelta
from functools import partial
from io import BytesIO
from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr

from app.core.config.addresses import secrets_in
from app.core.config.sources import KEY
from app.sources.chain import SourceFailed
from app.sources.client import HttpClient, get_document, parse_json
from app.sources.ecb_cells import BASE
from app.sources.ecb_days import read_days
from app.sources.ecb_lines import UnusableFile, decode_lines
from app.sources.ecb_xml import NAMESPACE, read_newest_day
from app.sources.masking import explained_failures
from app.sources.rate_shapes import Quotes, parse_quotes

_ACCEPT: Final = {"Accept": "application/json, application/xml;q=0.9, text/csv;q=0.8"}
_ECB_CSV: Final = re.compile(r'\s*"?(DATE|KEY)"?\s*[,;\t]', re.IGNORECASE)
"""How the bank's tables, and the CSV of its data portal, begin."""
_BEGINNING: Final = 1000
"""Characters, in which the XML names its format."""


async def fetch_quotes(
    http: HttpClient, url: str, *, key: SecretStr | None, timeout: float, max_bytes: int, today: date
) -> Quotes:
    """Fetch and parse the newest rates.

    Args:
        http: From create_http_client().
        url: The address; may contain ``{key}``.
        key: Put in place of ``{key}``, percent-encoded.
        timeout: Seconds for everything, including retries.
        max_bytes: Limit for the weight of the answer.
        today: The day in UTC, for answers without a day.

    Raises:
        SourceFailed: Anything went wrong; the text contains neither the address nor a key, whatever the source sends.
    """
    secret = key.get_secret_value() if key is not None else ""
    address = url.replace(KEY, quote(secret, safe=""))
    with explained_failures([secret, *secrets_in(address)]):
        answer = await get_document(
            http, address, partial(parse_answer, today=today), timeout=timeout, max_bytes=max_bytes, headers=_ACCEPT
        )
    quotes: Quotes = answer.content
    return quotes


def parse_answer(text: str, *, today: date) -> Quotes:
    """Parse JSON in any format of ``parse_quotes()``, or the European Central Bank's XML or CSV.

    Raises:
        SourceFailed: As ``parse_quotes()`` does.
    """
    return parse_quotes(_to_body(text, today), today=today)


def _to_body(text: str, today: date) -> Any:
    """Parse JSON; turn the newest day of the European Central Bank's XML and CSV into the same form."""
    if text.startswith("<") and NAMESPACE in text[:_BEGINNING]:
        return read_newest_day(text)
    if _ECB_CSV.match(text):
        return _newest_day_of_csv(text, today)
    return parse_json(text)


def _newest_day_of_csv(text: str, today: date) -> dict[str, Any]:
    lines = decode_lines(BytesIO(text.encode(errors="surrogatepass")))
    try:
        days = read_days(lines, today=today + timedelta(days=1))
        newest = max(days, key=lambda past: past.day, default=None)
    except UnusableFile as error:
        line = str(error).partition(":")[0]  # what follows repeats the line
        raise SourceFailed(f"answered with invalid CSV in {line}") from error
    if newest is None:
        raise SourceFailed("answered without a single usable rate")
    return {"base": BASE, "date": newest.day.isoformat(), "rates": newest.rates}
