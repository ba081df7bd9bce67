"""Requests that are refused: each wrong field is named, and nothing is stored."""

import json
from typing import Any

import pytest

from tests.users.accounts import ADA, PASSWORD, QUAY, RIDGE, create, stored

TEXT, BLANK, UNKNOWN = "must be text", "must not be blank", "is not a field of this request"
CONTROL, HALF = "must not contain control characters", "contains an unpaired surrogate"
BOOLEAN, NUMBER, OBJECT = "must be true or false", "must be a whole number", "must be an object"
REQUIRED, ROLE = "is required", "must be one of: reader, editor, admin"
COUNTRY = "must be the alpha-2 code of a country, such as GH"
LONE = "a\ud800b"

# All this is refused before a database is asked.
pytestmark = pytest.mark.engines("sqlite")

# Wrong in every request that may carry the field.
NOT_TEXT: list[Any] = [None, 5, True, [], {}]
NOT_BOOLEAN: list[Any] = [None, "yes", "true", 1, 0, "", []]

FIELDS: list[tuple[str, Any, str]] = [
    *((name, value, TEXT) for name in ("fname", "lname", "email", "password") for value in NOT_TEXT),
    *((name, value, BLANK) for name in ("fname", "lname") for value in ("", "  \t\n")),
    *((name, f"a{char}b", CONTROL) for name in ("fname", "lname") for char in "\0\n\x1b\x7f\x80"),
    *((name, "a" * 101, "must have at most 100 characters") for name in ("fname", "lname")),
    *((name, f"a{' ' * 100}", "must have at most 100 characters") for name in ("fname", "lname")),
    *((name, LONE, HALF) for name in ("fname", "lname", "email")),
    ("email", f"{'a' * 255}@example.com", "must have at most 254 characters"),
    ("password", "a" * 11, "must have at least 12 characters"),
    ("password", "a" * 129, "must have at most 128 characters"),
    ("password", LONE * 4, HALF),
    *(("role", value, ROLE) for value in (None, "root", "Reader", "", 1)),
    *(("is_active", value, BOOLEAN) for value in NOT_BOOLEAN),
    ("id", 1, UNKNOWN),
    ("created_at", "2026-11-21T09:17:00Z", UNKNOWN),
    ("password_hash", "x", UNKNOWN),
    ("Fname", "Ada", UNKNOWN),
]
EMAILS = {
    "": "An email address must have an @-sign.",
    "ada": "An email address must have an @-sign.",
    "ada@": "There must be something after the @-sign.",
    "@example.com": "There must be something before the @-sign.",
    "ada@example": "The part after the @-sign is not valid. It should have a period.",
    "ada@localhost": "The part after the @-sign is not valid. It should have a period.",
    "ada@host.test": "The part after the @-sign is a special-use or reserved name that cannot be used with email.",
    "ada@-x.com": "An email address cannot have a hyphen immediately after the @-sign.",
    "ada@[127.0.0.1]": "A bracketed IP address after the @-sign is not allowed here.",
    "ada@a@example.com": "The part after the @-sign contains invalid characters: '@'.",
    "a b@example.com": "The email address contains invalid characters before the @-sign: SPACE.",
    "a\0b@example.com": "The email address contains invalid characters before the @-sign: U+0000.",
    ".ada@example.com": "An email address cannot start with a period.",
    '"ada"@example.com': "Quoting the part before the @-sign is not allowed here.",
    "Ada <ada@example.com>": "A display name and angle brackets around the email address are not permitted here.",
    f"{'a' * 65}@example.com": "The email address is too long before the @-sign (1 character too many).",
}
ADDRESSES: list[tuple[str, Any, str]] = [
    *((name, value, TEXT) for name in ("street", "city", "country") for value in NOT_TEXT),
    ("postal_code", 5, TEXT),
    *((name, " ", BLANK) for name in ("street", "city", "postal_code")),
    *((name, "a\0b", CONTROL) for name in ("street", "city", "postal_code")),
    ("postal_code", f"a{' ' * 20}", "must have at most 20 characters"),
    *((name, LONE, HALF) for name in ("street", "city", "postal_code", "country")),
    ("street", "a" * 201, "must have at most 200 characters"),
    ("city", "a" * 101, "must have at most 100 characters"),
    ("postal_code", "1" * 21, "must have at most 20 characters"),
    *(("country", value, COUNTRY) for value in ("", " ", "ZZ", "EU", "UN", "XA", "QO", "GHA", "Ghana", "G", "G\0")),
    *(("country", letter, COUNTRY) for letter in "ßﬁ"),  # in capitals they are the codes SS and FI
    ("country", "G" * 11, "must have at most 10 characters"),
    ("user_id", 1, UNKNOWN),
    ("id", 1, UNKNOWN),
]
BODIES = {
    "": {"body": REQUIRED},
    "{": {"body": "is not valid JSON"},
    "[]": {"body": OBJECT},
    "null": {"body": OBJECT},
    '"ada"': {"body": OBJECT},
    "[" * 16_000: {"body": "is not valid JSON"},
}


async def send(client, method: str, path: str, body: object) -> tuple[int, object]:
    """As JSON that spells all characters in ASCII, because UTF-8 has no half ones."""
    content = body if isinstance(body, str) else json.dumps(body)
    response = await client.request(method, path, content=content, headers={"Content-Type": "application/json"})
    assert PASSWORD not in response.text
    return response.status_code, response.json()


@pytest.fixture
async def ada(client):
    """An account with an address; fails if anything was stored in a test."""
    account = await create(client, addresses=[RIDGE])
    before = await stored(client)
    yield account
    assert await stored(client) == before


def refused(**details: str) -> tuple[int, object]:
    return 400, {"error": "Validation failed", "details": details}


async def test_wrong_fields_of_an_account_are_named(client, ada):
    path = f"/users/{ada['id']}"
    replacement = {"fname": "Ada", "lname": "M", "email": "a@example.com", "role": "reader", "is_active": True}

    for name, value, sentence in FIELDS:
        expected = refused(**{name: sentence})
        for method, target, body in (("POST", "/users", ADA), ("PUT", path, replacement), ("PATCH", path, {})):
            answer = await send(client, method, target, {**body, name: value})
            assert (method, name, value, answer) == (method, name, value, expected)


async def test_invalid_email_address_is_refused_with_the_reason(client, ada):
    path = f"/users/{ada['id']}"

    for email, reason in EMAILS.items():
        expected = refused(email=f"is not a valid email address: {reason}")
        assert (email, await send(client, "POST", "/users", {**ADA, "email": email})) == (email, expected)
        assert (email, await send(client, "PATCH", path, {"email": email})) == (email, expected)


async def test_missing_fields_are_all_named(client, ada):
    path = f"/users/{ada['id']}"

    created = dict.fromkeys(("fname", "lname", "email", "password"), REQUIRED)
    assert await send(client, "POST", "/users", {}) == refused(**created)
    replaced = dict.fromkeys(("fname", "lname", "email", "role", "is_active"), REQUIRED)
    assert await send(client, "PUT", path, {}) == refused(**replaced)
    nothing = dict.fromkeys(ADA)
    assert await send(client, "PATCH", path, nothing) == refused(**dict.fromkeys(ADA, TEXT))


async def test_wrong_fields_of_an_address_are_named_in_each_request_that_carries_one(client, ada):
    several = f"/users/{ada['id']}/addresses"
    one = f"{several}/{ada['addresses'][0]['id']}"

    for name, value, sentence in ADDRESSES:
        address = {**QUAY, name: value}
        for method, path in (("POST", several), ("PUT", one)):
            answer = await send(client, method, path, address)
            assert (name, value, answer) == (name, value, refused(**{name: sentence}))
        answer = await send(client, "POST", "/users", {**ADA, "email": "b@example.com", "addresses": [RIDGE, address]})
        assert (name, value, answer) == (name, value, refused(**{f"addresses.1.{name}": sentence}))
    required = dict.fromkeys(("street", "city", "country"), REQUIRED)
    assert await send(client, "POST", several, {}) == await send(client, "PUT", one, {}) == refused(**required)


async def test_list_of_addresses_is_a_list_of_at_most_fifty_and_only_of_a_new_account(client, ada):
    path = f"/users/{ada['id']}"

    lists: dict[str, Any] = {"must be a list": (None, {}, "GH", 5), "must have at most 50 entries": ([RIDGE] * 51,)}
    for sentence, values in lists.items():
        for value in values:
            answer = await send(client, "POST", "/users", {**ADA, "addresses": value})
            assert answer == refused(addresses=sentence)
    assert await send(client, "POST", "/users", {**ADA, "addresses": [5]}) == refused(**{"addresses.0": OBJECT})
    assert await send(client, "PATCH", path, {"addresses": []}) == refused(addresses=UNKNOWN)


async def test_body_that_is_not_an_object_is_refused(client, ada):
    path = f"/users/{ada['id']}"
    addresses = f"{path}/addresses"
    requests = [("POST", "/users"), ("PUT", path), ("PATCH", path), ("POST", addresses)]

    for method, target in [*requests, ("PUT", f"{addresses}/{ada['addresses'][0]['id']}")]:
        for body, details in BODIES.items():
            assert (body[:9], await send(client, method, target, body)) == (body[:9], refused(**details))
        assert await send(client, method, target, {LONE: 1}) == refused(body=HALF)
        form = await client.request(method, target, data={"fname": "Ada"})
        sentence = "The header Content-Type must be application/json"
        assert (form.status_code, form.json()) == (415, {"error": "Unsupported media type", "details": sentence})


async def test_id_that_is_not_a_number_in_range_is_refused(client):
    least, most = "must be at least 1", f"must be at most {2**63 - 1}"
    for text, sentence in (("0", least), ("-1", least), (str(2**63), most), ("x", NUMBER), ("1.5", NUMBER)):
        for path in ("/users/{}", "/users/{}/addresses", "/users/1/addresses/{}"):
            name = "address_id" if path.endswith("{}") and "addresses" in path else "user_id"
            response = await client.get(path.format(text))
            assert (path, text, response.status_code, response.json()) == (path, text, *refused(**{name: sentence}))
    assert (await client.get("/users/1?fields=id")).json() == {
        "error": "Validation failed",
        "details": {"fields": "unknown parameter; this request takes none"},
    }
