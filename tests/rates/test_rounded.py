"""The rounded result of a conversion."""

import pytest

from tests.conftest import RATES, Client
from tests.support.upstream import FakeUpstream, document

QUOTED = {"RSD": 101.23456, "IQD": 1310.123456, "XAU": 0.00025, "JPY": 155.5, "KWD": 0.30715, "BTC": 0.00001}
QUOTED |= {
    "EUR": 0.875,
    "XAG": 0.03,
    "XPT": 0.0006,
    "XPD": 0.0007,
    "XDR": 0.7345,
    "DEM": 1.705,
    "CLF": 0.02345678,
    "QQQ": 1.23456,
}


@pytest.mark.engines("sqlite")
async def test_result_is_rounded_to_the_minor_unit_of_iso_4217(client: Client, upstream: FakeUpstream):
    upstream.answers[RATES] = document({"base": "USD", "date": "2026-11-20", "rates": QUOTED})
    assert (await client.post("/countries/refresh")).status_code == 200

    rounded = {code: (await client.get(f"/convert?from=USD&to={code}")).json()["rounded"] for code in QUOTED}

    money = {"RSD": 101.23, "IQD": 1310.123, "JPY": 156.0, "KWD": 0.307, "EUR": 0.88, "DEM": 1.71, "CLF": 0.0235}
    without_units = dict.fromkeys(["XAU", "XAG", "XPT", "XPD", "XDR", "BTC", "QQQ"])
    assert rounded == money | without_units
