"""Bodies of requests that several checks send."""

from typing import Any, Final

ADA: Final = {"fname": "Ada", "lname": "Mensah", "password": "correct horse battery"}
RIDGE: Final = {"street": "12 Ridge Road", "city": "Accra", "country": "GH"}
UBID: Final = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
NDJSON: Final = {"Content-Type": "application/x-ndjson"}


def transfer(ubid: str = UBID) -> dict[str, Any]:
    return {"UBID": ubid, "SMScount": 5, "documents": 5, "fileName": "a.csv", "origName": "a.csv"}


def document(number: int) -> dict[str, Any]:
    return {"SMScount": 1, "uniqueId": f"A{number:06}", "data": {"to": str(number)}}


def batch(ubid: str) -> dict[str, Any]:
    return {"UBID": ubid, "documents": [document(number) for number in range(3)]}


def lines(first: int, number: int) -> bytes:
    """Documents as NDJSON."""
    return b"".join(b'{"SMScount":1,"uniqueId":"A%d","data":{}}\n' % one for one in range(first, first + number))
