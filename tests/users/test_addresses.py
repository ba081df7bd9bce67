"""Addresses of an account: listed, added, replaced and deleted."""

import asyncio
from typing import Any

import pytest
from babel import Locale

from tests.users.accounts import ADA, QUAY, RIDGE, create, stored

USER_NOT_FOUND, ADDRESS_NOT_FOUND = {"error": "User not found"}, {"error": "Address not found"}
TOO_MANY = {"error": "Too many addresses", "details": "An account can have at most 50 addresses; delete one first"}


async def test_addresses_are_added_replaced_and_deleted(client):
    ada = await create(client)
    path = f"/users/{ada['id']}/addresses"
    assert (await client.get(path)).json() == []

    added = await client.post(path, json=RIDGE)
    first = {"id": added.json()["id"], **RIDGE, "user_id": ada["id"]}
    assert (added.status_code, added.json()) == (201, first)
    assert added.headers["Location"] == f"{path}/{first['id']}"
    second = (await client.post(path, json=QUAY)).json()
    assert (await client.get(path)).json() == [first, second]
    assert (await client.get(added.headers["Location"])).json() == first

    replaced = await client.put(added.headers["Location"], json=QUAY)
    first |= QUAY
    assert (replaced.status_code, replaced.json()) == (200, first)
    assert (await client.get(path)).json() == [first, second]
    assert (await client.get(f"/users/{ada['id']}")).json()["addresses"] == [first, second]

    deleted = await client.delete(added.headers["Location"])
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await client.get(added.headers["Location"])).json() == ADDRESS_NOT_FOUND
    assert (await client.get(path)).json() == [second]


async def test_country_ignores_case_and_the_postal_code_is_optional(client):
    ada = await create(client)
    path = f"/users/{ada['id']}/addresses"

    for country, code in (("gh", "GH"), (" Ch ", "CH"), ("xk", "XK")):
        added = (await client.post(path, json={"street": " a ", "city": "b", "country": country})).json()
        assert added == {
            "id": added["id"], "street": "a", "city": "b", "postal_code": None, "country": code, "user_id": ada["id"]
        }  # fmt: skip
    replaced = await client.put(f"{path}/{added['id']}", json={**RIDGE, "country": "gh"})
    assert replaced.json() == {"id": added["id"], **RIDGE, "user_id": ada["id"]}


async def test_address_of_another_account_or_without_an_account_is_not_found(client):
    ada = await create(client, addresses=[RIDGE])
    grace = await create(client, email="grace@example.com", addresses=[QUAY])
    before = await stored(client)
    hers, nowhere = grace["addresses"][0]["id"], "/users/987654/addresses"

    requests: list[tuple[str, str, Any, Any]] = [
        *(("GET", f"/users/{ada['id']}/addresses/{number}", None, ADDRESS_NOT_FOUND) for number in (hers, 987654)),
        *(("PUT", f"/users/{ada['id']}/addresses/{number}", RIDGE, ADDRESS_NOT_FOUND) for number in (hers, 987654)),
        *(("DELETE", f"/users/{ada['id']}/addresses/{number}", None, ADDRESS_NOT_FOUND) for number in (hers, 987654)),
        ("GET", nowhere, None, USER_NOT_FOUND),
        ("POST", nowhere, RIDGE, USER_NOT_FOUND),
        ("PUT", f"{nowhere}/{hers}", QUAY, USER_NOT_FOUND),
        ("DELETE", f"{nowhere}/{hers}", None, USER_NOT_FOUND),
        ("GET", f"{nowhere}/{hers}", None, ADDRESS_NOT_FOUND),
    ]
    for method, path, body, missing in requests:
        answer = await client.request(method, path, json=body)
        assert (method, path, answer.status_code, answer.json()) == (method, path, 404, missing)
    assert await stored(client) == before


async def test_account_has_at_most_fifty_addresses(client):
    ada = await create(client, addresses=[RIDGE] * 48)
    path = f"/users/{ada['id']}/addresses"

    answers = await asyncio.gather(*(client.post(path, json=QUAY) for _ in range(6)))

    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409, 409]
    assert all(answer.json() == TOO_MANY for answer in answers if answer.status_code == 409)
    listed = (await client.get(path)).json()
    assert len(listed) == 50
    assert (await client.put(f"{path}/{listed[0]['id']}", json=QUAY)).status_code == 200
    await client.delete(f"{path}/{listed[0]['id']}")
    assert (await client.post(path, json=QUAY)).status_code == 201


async def test_change_of_an_address_is_a_change_of_its_account(client):
    response = await client.post("/users", json={**ADA, "addresses": [RIDGE]})
    path, address = response.headers["Location"], response.json()["addresses"][0]["id"]
    tags = [response.headers["ETag"]]

    changes = (("POST", "", QUAY), ("PUT", f"/{address}", QUAY), ("DELETE", f"/{address}", None))
    for method, target, body in changes:
        await client.request(method, f"{path}/addresses{target}", json=body)
        stale = await client.patch(path, json={"fname": "Grace"}, headers={"If-Match": tags[-1]})
        assert stale.status_code == 412
        tags.append((await client.get(path)).headers["ETag"])
    assert len(set(tags)) == 4

    same = (await client.get(f"{path}/addresses")).json()[0]
    await client.put(f"{path}/addresses/{same['id']}", json=QUAY)
    assert (await client.get(path)).headers["ETag"] == tags[-1]


async def test_change_of_an_address_is_made_if_a_tag_of_if_match_is_current(client):
    ada = await create(client, addresses=[RIDGE, QUAY])
    paths = [f"/users/{ada['id']}/addresses/{address['id']}" for address in ada["addresses"]]
    stale = (await client.get(paths[0])).headers["ETag"]
    fresh = (await client.put(paths[0], json=QUAY, headers={"If-Match": stale})).headers["ETag"]
    before = await stored(client)

    for method, body in (("PUT", RIDGE), ("DELETE", None)):
        refused = await client.request(method, paths[0], json=body, headers={"If-Match": stale})
        details = {"If-Match": f"has changed since you read it; its ETag is now {fresh}"}
        assert (refused.status_code, refused.json()) == (412, {"error": "Precondition failed", "details": details})
    assert await stored(client) == before

    twice = [("If-Match", stale), ("If-Match", fresh)]
    assert (await client.put(paths[0], json=RIDGE, headers=twice)).status_code == 200
    assert (await client.delete(paths[0], headers={"If-Match": "*"})).status_code == 204


@pytest.mark.engines("sqlite")
async def test_country_may_be_any_territory_of_cldr(client):
    document = (await client.get("/openapi.json")).json()
    listed = document["components"]["schemas"]["AddressInput"]["properties"]["country"]["enum"]

    not_places = {"EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"}
    assert listed == sorted({code for code in map(str, Locale("en").territories) if len(code) == 2} - not_places)
