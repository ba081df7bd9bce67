"""The bundled countries and rates in the shape of each upstream."""

from datetime import UTC, date, datetime
from typing import Any

from app.sources.countries import bundled_records
from app.sources.rates import bundled_quotes

RATES_DAY = date(2026, 11, 20)


def _currency(record: dict[str, Any]) -> str | None:
    return next((currency["code"] for currency in record["currencies"]), None)


def _shared(record: dict[str, Any]) -> dict[str, Any]:
    """The fields that every format has under the same name."""
    return {"region": record["region"], "population": record["population"]}


def v2_without_codes() -> list[dict[str, Any]]:
    """restcountries.eu and apilayer: no codes, an empty string for no capital, one currency too many."""
    return [
        {
            "name": record["name"],
            "capital": record["capital"] or "",
            **_shared(record),
            "flag": record["flag"],
            "currencies": [
                *({"code": code, "name": "x", "symbol": "x"} for code in [_currency(record)] if code),
                {"code": "(none)", "name": None, "symbol": None},
                {"code": None},
            ],
        }
        for record in bundled_records()
    ]


def v2_with_codes() -> list[dict[str, Any]]:
    """restcountries.com v2: codes, flags twice, keys absent where there is nothing."""
    return [
        {
            "name": record["name"],
            "alpha2Code": record["alpha2Code"],
            "alpha3Code": record["alpha3Code"],
            **({"capital": record["capital"]} if record["capital"] else {}),
            **_shared(record),
            "flags": {"svg": record["flag"], "png": "https://flagcdn.com/w320/x.png"},
            "flag": record["flag"],
            **({"currencies": [{"code": _currency(record)}, {"code": "IMP[G]"}]} if _currency(record) else {}),
        }
        for record in bundled_records()
    ]


def countries_dev() -> list[dict[str, Any]]:
    """countries.dev: as v2, but the flag is an emoji."""
    return [{**record, "flag": "\N{WAVING BLACK FLAG}"} for record in v2_with_codes()]


def v3_1(*, leave_out_empty: bool = False) -> list[dict[str, Any]]:
    """v3.1: nested names, capitals in a list, currencies keyed by code; the live API left empty keys out."""
    records = [
        {
            "name": {"common": record["name"], "official": f"Republic of {record['name']}"},
            "cca2": record["alpha2Code"],
            "cca3": record["alpha3Code"],
            "capital": [record["capital"]] if record["capital"] else [],
            **_shared(record),
            "flags": {"svg": record["flag"], "png": "https://flagcdn.com/w320/x.png"},
            "currencies": {_currency(record): {"name": "x", "symbol": "x"}} if _currency(record) else {},
        }
        for record in bundled_records()
    ]
    return [
        {k: v for k, v in record.items() if v or k == "population"} if leave_out_empty else record for record in records
    ]


def v5() -> list[dict[str, Any]]:
    """v5 objects: empty strings and lists for what is missing, capitals as objects, the main one not first."""
    return [
        {
            "names": {"common": record["name"], "official": f"Republic of {record['name']}"},
            "codes": {"alpha_2": record["alpha2Code"], "alpha_3": record["alpha3Code"], "ccn3": ""},
            "capitals": [
                {"name": name, "attributes": {"primary": name != "Elsewhere"}}
                for name in (("Elsewhere", record["capital"]) if record["capital"] else ())
            ],
            **_shared(record),
            "currencies": [{"code": code, "name": "x", "symbol": ""} for code in [_currency(record)] if code],
            "flag": {"url_svg": record["flag"], "url_png": "", "emoji": ""},
        }
        for record in bundled_records()
    ]


def rates() -> dict[str, float]:
    return dict(bundled_quotes().rates)


def er_api(day: date = RATES_DAY, **changes: Any) -> dict[str, Any]:
    moment = datetime(day.year, day.month, day.day, 0, 2, 31, tzinfo=UTC)
    return {
        "result": "success",
        "provider": "https://www.exchangerate-api.com",
        "time_last_update_unix": int(moment.timestamp()),
        "time_eol_unix": 0,
        "base_code": "USD",
        "rates": {**rates(), **changes},
    }


def currency_api(day: date = RATES_DAY) -> dict[str, Any]:
    return {"date": day.isoformat(), "usd": {code.lower(): rate for code, rate in rates().items()} | {"1inch": 9.9}}


def frankfurter_v1(day: date = RATES_DAY) -> dict[str, Any]:
    quotes = {code: rate for code, rate in rates().items() if code != "USD"}
    return {"amount": 1.0, "base": "USD", "date": day.isoformat(), "rates": quotes}


def frankfurter_v2(day: date = RATES_DAY) -> list[dict[str, Any]]:
    quotes = {code: rate for code, rate in rates().items() if code != "USD"}
    return [{"date": day.isoformat(), "base": "USD", "quote": code, "rate": rate} for code, rate in quotes.items()]
