"""What accounts may do with themselves and with others."""

import pytest

from tests.users.accounts import OPERATOR, OPERATOR_KEY, QUAY, RIDGE, create, sign_in, stored

REPLACEMENT = {"fname": "Eve", "lname": "Eve", "email": "eve@example.com", "role": "reader", "is_active": True}


@pytest.fixture
async def closed(service):
    """A service to which only keys and tokens give access."""
    async with service(admin_api_key=OPERATOR_KEY) as client:
        yield client


async def test_accounts_can_not_read_or_change_others(closed):
    victim = await create(closed, OPERATOR, addresses=[RIDGE])
    owner, address = f"/users/{victim['id']}", f"/users/{victim['id']}/addresses/{victim['addresses'][0]['id']}"
    for role in ("reader", "editor"):
        eve = await create(closed, OPERATOR, email=f"{role}@example.com", role=role, addresses=[QUAY])
        token = await sign_in(closed, f"{role}@example.com")
        key = await closed.post("/users/me/api-keys", json={"name": "eve"}, headers=token)
        before = await stored(closed)
        own = f"/users/{eve['id']}"
        requests = [
            *(("GET", path, None) for path in (owner, f"{owner}/addresses", address, "/users/987654")),
            *(("GET", path, None) for path in (f"/users/0{eve['id']}", f"/users/+{eve['id']}", "/users/x")),
            *(("PUT", path, body) for path, body in ((owner, REPLACEMENT), (address, QUAY))),
            ("PATCH", owner, {"password": "now it is mine"}),
            ("POST", f"{owner}/addresses", QUAY),
            *(("DELETE", path, None) for path in (owner, address, f"{own}/../{victim['id']}", "/users/987654")),
            *(("GET", path, None) for path in ("/users", "/users?q=ada", "/audit")),
            ("POST", "/users", REPLACEMENT),
        ]
        for method, path, body in requests:
            for headers in (token, {"X-API-Key": key.json()["key"]}):
                answer = await closed.request(method, path, json=body, headers=headers)
                who = "role admin" if path in ("/users", "/users?q=ada", "/audit") else "admin, or the account itself"
                details = f"Requires {who}; you are {role}@example.com ({role})"
                expected = (403, {"error": "Forbidden", "details": details})
                assert (method, path, answer.status_code, answer.json()) == (method, path, *expected)
                assert (await closed.head(path, headers=headers)).status_code == 403
        assert await stored(closed) == before


async def test_account_changes_itself_except_for_its_role_and_activity(closed):
    for role in ("reader", "editor"):
        ada = await create(closed, OPERATOR, email=f"{role}@example.com", role=role, addresses=[RIDGE])
        own = f"/users/{ada['id']}"
        token = await sign_in(closed, f"{role}@example.com")
        same = {name: ada[name] for name in ("fname", "lname", "email", "role", "is_active")}
        before = await stored(closed)

        for wrong in ({"role": "admin"}, {"is_active": False}, {"role": "admin", "is_active": False}):
            for method, body in (("PATCH", wrong), ("PUT", {**same, **wrong})):
                answer = await closed.request(method, own, json={**body, "fname": "Eve"}, headers=token)
                details = dict.fromkeys(wrong, "only an admin may change this")
                assert (answer.status_code, answer.json()) == (403, {"error": "Forbidden", "details": details})
        assert await stored(closed) == before

        me, by_id = await closed.get("/users/me", headers=token), await closed.get(own, headers=token)
        assert (me.content, me.headers["ETag"]) == (by_id.content, by_id.headers["ETag"])
        assert me.json() == ada
        changed = await closed.put(own, json={**same, "fname": "Grace"}, headers=token)
        assert (changed.status_code, changed.json()["fname"]) == (200, "Grace")
        changed = await closed.patch(own, json={"role": role, "is_active": True, "lname": "B"}, headers=token)
        assert (changed.status_code, changed.json()["lname"]) == (200, "B")
        added = await closed.post(f"{own}/addresses", json=QUAY, headers=token)
        assert (await closed.put(added.headers["Location"], json=RIDGE, headers=token)).status_code == 200
        assert len((await closed.get(f"{own}/addresses", headers=token)).json()) == 2
        assert (await closed.delete(added.headers["Location"], headers=token)).status_code == 204
        assert (await closed.delete(own, headers=token)).status_code == 204
        assert (await closed.get("/users/me", headers=token)).status_code == 401


async def test_admin_changes_all_accounts(closed):
    await create(closed, OPERATOR, email="admin@example.com", role="admin")
    token = await sign_in(closed, "admin@example.com")
    ada = await create(closed, token, addresses=[RIDGE])

    changed = await closed.patch(f"/users/{ada['id']}", json={"role": "editor", "is_active": False}, headers=token)
    assert (changed.json()["role"], changed.json()["is_active"]) == ("editor", False)
    listed = (await closed.get("/users", headers=token)).json()
    assert [user["email"] for user in listed] == ["admin@example.com", "ada@example.com"]
    assert (await closed.delete(f"/users/{ada['id']}", headers=token)).status_code == 204


async def test_operator_has_no_account(closed):
    for method, path in (("GET", "/users/me"), ("GET", "/users/me/api-keys"), ("POST", "/users/me/api-keys")):
        answer = await closed.request(method, path, headers=OPERATOR)
        details = "This needs an account, and ADMIN_API_KEY has none: sign in, or use an account's API key"
        assert (answer.status_code, answer.json()) == (403, {"error": "Forbidden", "details": details})
