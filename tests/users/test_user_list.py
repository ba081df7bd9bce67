"""The list of accounts: pages, search, order and database queries."""

from datetime import UTC, datetime

import pytest

from tests.support.engines import EVERY_ENGINE
from tests.support.statements import recorded
from tests.users.accounts import RIDGE, create, stored, write

SORTS = "name_asc, name_desc, email_asc, email_desc, created_asc, created_desc"
KNOWN = "unknown parameter; allowed: q, sort, limit, offset"
REFUSED = {
    "x=1": {"x": KNOWN},
    "Q=ada": {"Q": KNOWN},
    "role=admin": {"role": KNOWN},
    "q=": {"q": "must not be blank"},
    "q=%20": {"q": "must not be blank"},
    "q=%CC%81": {"q": "must not be blank"},
    f"q={'a' * 201}": {"q": "must have at most 200 characters"},
    "q=a&q=b": {"q": "is given more than once"},
    "sort=name": {"sort": f"must be one of: {SORTS}"},
    "sort=NAME_ASC": {"sort": f"must be one of: {SORTS}"},
    "limit=0": {"limit": "must be at least 1"},
    "limit=1001": {"limit": "must be at most 1000"},
    "limit=1.5": {"limit": "must be a whole number"},
    "limit=": {"limit": "must not be blank"},
    "offset=-1": {"offset": "must be at least 0"},
    "offset=1000000001": {"offset": "must be at most 1000000000"},
    "limit=0&offset=-1": {"limit": "must be at least 1", "offset": "must be at least 0"},
}


@pytest.fixture
async def people(client):
    """Five accounts; two share a name, and two the time of their creation."""
    names = (("José", "Álvarez"), ("ada", "Mensah"), ("Ada", "Mensah"), ("Zoë", "O’Neill"), ("Émile", "Zola"))
    emails = ("jose@example.com", "second@example.com", "First@example.com", "zoe@neill.example", "ÉMILE@example.org")
    for (fname, lname), email in zip(names, emails, strict=True):
        await create(client, fname=fname, lname=lname, email=email, addresses=[RIDGE] if fname == "Zoë" else [])
    for minute, email in enumerate(emails):
        at = datetime(2026, 11, 21, 9, max(minute, 1), tzinfo=UTC)
        await write(client, "UPDATE user SET created_at = :at WHERE email = :email", {"at": at, "email": email})
    return client


async def firsts(client, query: str) -> list[str]:
    response = await client.get(f"/users{query}")
    assert response.status_code == 200, response.text
    return [user["email"].partition("@")[0] for user in response.json()]


async def test_list_shows_whole_accounts(people):
    listed = await people.get("/users")

    assert listed.status_code == 200
    assert listed.json() == [(await people.get(f"/users/{user['id']}")).json() for user in listed.json()]
    assert [len(user["addresses"]) for user in listed.json()] == [0, 0, 0, 1, 0]
    assert listed.headers["X-Total-Count"] == "5"
    assert listed.headers["Cache-Control"] == "no-store"


@EVERY_ENGINE
async def test_each_sort_order_is_total(people):
    by_name = ["second", "First", "ÉMILE", "jose", "zoe"]
    by_email = ["First", "jose", "second", "zoe", "ÉMILE"]
    by_creation = ["jose", "second", "First", "zoe", "ÉMILE"]

    for sort, expected in (("name", by_name), ("email", by_email), ("created", by_creation)):
        assert await firsts(people, f"?sort={sort}_asc") == expected
        assert await firsts(people, f"?sort={sort}_desc") == expected[::-1]
        pages = [await firsts(people, f"?sort={sort}_asc&limit=1&offset={offset}") for offset in range(5)]
        assert pages == [[email] for email in expected]
    assert await firsts(people, "") == by_creation


@EVERY_ENGINE
async def test_search_finds_parts_of_names_and_addresses_in_any_case(people):
    found = {
        "ADA": ["second", "First"],
        "ada%20%20mensah": ["second", "First"],
        "mensah%20ada": [],
        "jose": ["jose"],
        "Jos%C3%89%20%C3%81LV": ["jose"],
        "ALVAREZ": ["jose"],
        "o'neill": ["zoe"],
        "NEILL.EXAMPLE": ["zoe"],
        "fiRST%40": ["First"],
        "emile": ["ÉMILE"],
        "%C3%A9mile%40EXAMPLE": ["ÉMILE"],
        "e%CC%81mile%40": ["ÉMILE"],
        "%25": [],
        "_": [],
        "%00": [],
        "a%00": [],
        "'": ["zoe"],
        "%5C": [],
    }

    assert {q: await firsts(people, f"?q={q}") for q in found} == found


async def test_headers_link_to_other_pages(people):
    page = await people.get("/users?limit=2&offset=2&sort=email_asc&q=example")

    assert [user["email"] for user in page.json()] == ["second@example.com", "zoe@neill.example"]
    assert page.headers["X-Total-Count"] == "5"
    same = "q=example&limit=2"
    assert page.headers["Link"] == (
        f'</users?sort=email_asc&{same}&offset=0>; rel="first", '
        f'</users?sort=email_asc&{same}&offset=4>; rel="last", '
        f'</users?sort=email_asc&{same}&offset=0>; rel="prev", '
        f'</users?sort=email_asc&{same}&offset=4>; rel="next"'
    )
    beyond = await people.get("/users?limit=2&offset=100")
    assert (beyond.json(), beyond.headers["X-Total-Count"]) == ([], "5")
    assert beyond.headers["Link"] == (
        '</users?limit=2&offset=0>; rel="first", </users?limit=2&offset=4>; rel="last", '
        '</users?limit=2&offset=4>; rel="prev"'
    )


async def test_wrong_parameters_are_refused_by_name(client):
    before = await stored(client)
    answers = {query: await client.get(f"/users?{query}") for query in REFUSED}

    assert {query: (answer.status_code, answer.json()) for query, answer in answers.items()} == {
        query: (400, {"error": "Validation failed", "details": details}) for query, details in REFUSED.items()
    }
    assert await stored(client) == before


async def test_thousand_accounts_with_three_addresses_each_take_three_queries(client):
    user = (
        "INSERT INTO user (id, fname, lname, name_key, email, email_key, password_hash, role, is_active, created_at,"
        " updated_at) VALUES (:id, 'Ada', 'Mensah', 'ada mensah', :email, :email, 'x', 'reader', TRUE, :at, :at)"
    )
    address = "INSERT INTO address (user_id, street, city, country) VALUES (:owner, :street, 'Accra', 'GH')"
    empty = await client.get("/users")
    ids, at = range(1, 1001), datetime(2026, 11, 21, 9, 17, tzinfo=UTC)
    await write(client, user, *({"id": number, "email": f"ada{number}@example.com", "at": at} for number in ids))
    await write(client, address, *({"owner": owner, "street": street} for street in "123" for owner in ids))

    with recorded(client.state["database"]) as statements:
        listed = await client.get("/users?limit=1000")

    assert [(user["id"], [address["street"] for address in user["addresses"]]) for user in listed.json()] == [
        (number, ["1", "2", "3"]) for number in range(1, 1001)
    ]
    assert (empty.json(), empty.headers["X-Total-Count"], listed.headers["X-Total-Count"]) == ([], "0", "1000")
    asked = [statement.sql for statement in statements if "summarycache" not in statement.sql]  # the data version
    assert len(asked) == 3, asked
    assert sum("count(" in sql for sql in asked) == 1
