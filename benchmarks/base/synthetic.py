"""Any number of synthetic countries, in the shape of REST Countries v3.1."""

from typing import Any

from tests.support import payloads


def synthetic_countries(number: int) -> list[dict[str, Any]]:
    """The bundled countries, then copies with other names and without codes.

    There are only 676 codes of two letters; a country without one is identified by its name.
    """
    bundled = payloads.v3_1()
    return [_copy(bundled[position % len(bundled)], position // len(bundled)) for position in range(number)]


def _copy(record: dict[str, Any], turn: int) -> dict[str, Any]:
    if turn == 0:
        return record
    kept = {key: value for key, value in record.items() if key not in ("cca2", "cca3")}
    return {**kept, "name": {"common": f"{record['name']['common']} {turn}"}}
