"""The converter of the page: reads an amount as people type it, and writes the result as they read it."""

import re
from datetime import date
from decimal import Decimal
from typing import Final

from pydantic import ValidationError

from app.core.db.snapshots import Snapshot
from app.core.errors import ValidationFailed, in_one_line
from app.core.problems import describe_invalid
from app.rates.crud import get_conversions
from app.rates.in_force import RatesNotFound
from app.rates.schemas import Conversion, ConversionQuery

_WITH_COMMAS: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3})+([.][0-9]*)?")
_DIGITS: Final = 6


async def convert_for_people(data: Snapshot, amount: str, base: str, to: str, *, today: date) -> str:
    """Convert an amount, which may have commas between thousands; returns a line to show, also for an invalid one."""
    amount = amount.strip()
    if _WITH_COMMAS.fullmatch(amount):
        amount = amount.replace(",", "")
    try:
        query = ConversionQuery.model_validate({"from": base, "to": to, "amount": amount, "decimals": "string"})
        (conversion,) = await get_conversions(data, query, today=today)
    except ValidationError as error:
        return in_one_line(describe_invalid(error, what="amount"))
    except (ValidationFailed, RatesNotFound) as error:
        return in_one_line(error.details or error.title)
    return _describe(conversion)


def _describe(conversion: Conversion) -> str:
    result, rounded = Decimal(conversion.result), conversion.rounded
    # Less than the smallest unit is shown as it is: it is not 0.
    is_shown = rounded is not None and (Decimal(rounded) != 0 or result == 0)
    shown = f"{Decimal(rounded or 0):,f}" if is_shown else six_digits(result)
    rate = f"rate {six_digits(Decimal(conversion.rate))} of {conversion.date}"
    credit = f", {conversion.attribution}" if conversion.attribution else ""
    return f"{Decimal(conversion.amount):,f} {conversion.base} = {shown} {conversion.quote} ({rate}{credit})"


def six_digits(number: Decimal) -> str:
    """Round to six significant digits, but keep all digits before the point; thousands have commas."""
    text = f"{number:,.{max(0, _DIGITS - 1 - number.adjusted())}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
