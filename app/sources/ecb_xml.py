"""Reads the European Central Bank's XML of reference rates: the daily file and that of the last 90 days."""

from typing import Any, Final
from xml.parsers import expat

from app.sources.chain import SourceFailed
from app.sources.ecb_cells import BASE

NAMESPACE: Final = "http://www.ecb.int/vocabulary/2002-08-01/eurofxref"
_DEEPEST: Final = 8
"""Elements within each other; the bank's files have four."""


def read_newest_day(text: str) -> dict[str, Any]:
    """The rates of the newest day, in the JSON format of Frankfurter v1.

    Raises:
        SourceFailed: It is not well-formed, declares a document type, or is nested too deeply.
    """
    newest, depth = "", 0
    rates: dict[str, str] = {}
    open_day = ""

    def start(_: str, attributes: dict[str, str]) -> None:
        nonlocal newest, depth, open_day
        depth += 1
        if depth > _DEEPEST:
            raise SourceFailed("answered with XML that is nested too deeply")
        if "time" in attributes:
            open_day = attributes["time"]
            if open_day > newest:
                newest = open_day
                rates.clear()
        elif open_day == newest and "currency" in attributes:
            rates[attributes["currency"]] = attributes.get("rate", "")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        # Entities, which can multiply the text or name files, are declared there.
        raise SourceFailed("answered with XML that declares a document type")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler, parser.StartDoctypeDeclHandler = start, end, refuse
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, UnicodeError) as error:
        raise SourceFailed("answered with invalid XML") from error
    return {"base": BASE, "date": newest, "rates": rates}
