"""Parameters of the list and of a history that are refused, with the whole body."""

from app.countries.schemas import SELECTABLE_FIELDS

SORTS = "gdp_desc, gdp_asc, population_desc, population_asc, name_asc, name_desc, exchange_rate_desc, exchange_rate_asc"
KNOWN = "region, currency, q, sort, limit, offset, fields, decimals, format"
LIST, ONE, HISTORY = "/countries", "/countries/ghana", "/countries/ghana/history"
SOME = f"must be some of: {', '.join(SELECTABLE_FIELDS)}"
EMPTY_VALUE = "must not have an empty value before or after a comma"
REFUSED = [
    (LIST, "regoin=Africa", {"regoin": f"unknown parameter; allowed: {KNOWN}"}),
    (LIST, "Region=Africa", {"Region": f"unknown parameter; allowed: {KNOWN}"}),
    (LIST, "region=Africa&region=Asia", {"region": "is given more than once"}),
    (LIST, "sort=gdp_desc&sort=gdp_desc", {"sort": "is given more than once"}),
    (LIST, "region=", {"region": "must not be blank"}),
    (LIST, "region", {"region": "must not be blank"}),
    (LIST, "q=%20%20", {"q": "must not be blank"}),
    (LIST, "currency=%09", {"currency": "must not be blank"}),
    (LIST, "limit=", {"limit": "must not be blank"}),
    (LIST, "sort=gdp", {"sort": f"must be one of: {SORTS}"}),
    (LIST, "sort=GDP_DESC", {"sort": f"must be one of: {SORTS}"}),
    (LIST, "fields=name,gdp", {"fields": SOME}),
    (LIST, "fields=name,", {"fields": SOME}),
    (ONE, "fields=gdp", {"fields": SOME}),
    (ONE, "fields=", {"fields": "must not be blank"}),
    (ONE, "region=africa", {"region": "unknown parameter; allowed: fields, decimals"}),
    (LIST, "region=Africa,,Asia", {"region": EMPTY_VALUE}),
    (LIST, "region=,&currency=EUR,", {"region": EMPTY_VALUE, "currency": EMPTY_VALUE}),
    (LIST, "limit=0", {"limit": "must be at least 1"}),
    (LIST, "limit=1001", {"limit": "must be at most 1000"}),
    (LIST, "limit=abc", {"limit": "must be a whole number"}),
    (LIST, "limit=1.5", {"limit": "must be a whole number"}),
    (LIST, "offset=-1", {"offset": "must be at least 0"}),
    (LIST, "offset=9999999999999999999999", {"offset": "must be at most 1000000000"}),
    (LIST, f"q={'a' * 201}", {"q": "must have at most 200 characters"}),
    (LIST, f"q={'9' * 5000}&limit=0", {"q": "must have at most 200 characters", "limit": "must be at least 1"}),
    (LIST, "limit=0&foo=1&q=", {"foo": f"unknown parameter; allowed: {KNOWN}", "q": "must not be blank"}),
    (HISTORY, "limit=0", {"limit": "must be at least 1"}),
    (HISTORY, "limit=1001", {"limit": "must be at most 1000"}),
    (HISTORY, "offset=-1", {"offset": "must be at least 0"}),
    *((path, "decimals=exact", {"decimals": "must be one of: number, string"}) for path in (LIST, ONE, HISTORY)),
    (HISTORY, "format=xml", {"format": "must be one of: json, csv, ndjson"}),
    (HISTORY, "sort=asc", {"sort": "unknown parameter; allowed: limit, offset, decimals, format"}),
]


async def test_wrong_parameters_are_refused_by_name_and_never_ignored(client):
    answers = [(path, query, await client.get(f"{path}?{query}")) for path, query, _ in REFUSED]

    assert {answer.status_code for *_, answer in answers} == {400}
    assert [(path, query, answer.json()) for path, query, answer in answers] == [
        (path, query, {"error": "Validation failed", "details": details}) for path, query, details in REFUSED
    ]
