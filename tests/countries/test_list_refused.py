"""Parameters of the list that are refused, with the whole body."""

from app.countries.schemas import COUNTRY_FIELDS

SORTS = "gdp_desc, gdp_asc, population_desc, population_asc, name_asc, name_desc, exchange_rate_desc, exchange_rate_asc"
KNOWN = "region, currency, q, sort, limit, offset, fields, format"
REFUSED = [
    ("regoin=Africa", {"regoin": f"unknown parameter; allowed: {KNOWN}"}),
    ("Region=Africa", {"Region": f"unknown parameter; allowed: {KNOWN}"}),
    ("region=Africa&region=Asia", {"region": "is given more than once"}),
    ("sort=gdp_desc&sort=gdp_desc", {"sort": "is given more than once"}),
    ("region=", {"region": "must not be blank"}),
    ("region", {"region": "must not be blank"}),
    ("q=%20%20", {"q": "must not be blank"}),
    ("currency=%09", {"currency": "must not be blank"}),
    ("limit=", {"limit": "must not be blank"}),
    ("sort=gdp", {"sort": f"must be one of: {SORTS}"}),
    ("sort=GDP_DESC", {"sort": f"must be one of: {SORTS}"}),
    ("fields=name,gdp", {"fields": f"must be some of: {', '.join(COUNTRY_FIELDS)}"}),
    ("fields=name,", {"fields": f"must be some of: {', '.join(COUNTRY_FIELDS)}"}),
    ("limit=0", {"limit": "must be at least 1"}),
    ("limit=1001", {"limit": "must be at most 1000"}),
    ("limit=abc", {"limit": "must be a whole number"}),
    ("limit=1.5", {"limit": "must be a whole number"}),
    ("offset=-1", {"offset": "must be at least 0"}),
    ("offset=9999999999999999999999", {"offset": "must be at most 1000000000"}),
    (f"q={'a' * 201}", {"q": "must have at most 200 characters"}),
    (f"q={'9' * 5000}&limit=0", {"q": "must have at most 200 characters", "limit": "must be at least 1"}),
    ("limit=0&foo=1&q=", {"foo": f"unknown parameter; allowed: {KNOWN}", "q": "must not be blank"}),
]


async def test_wrong_parameters_are_refused_by_name_and_never_ignored(client):
    answers = [(query, await client.get(f"/countries?{query}")) for query, _ in REFUSED]

    assert {answer.status_code for _, answer in answers} == {400}
    assert [(query, answer.json()) for query, answer in answers] == [
        (query, {"error": "Validation failed", "details": details}) for query, details in REFUSED
    ]
