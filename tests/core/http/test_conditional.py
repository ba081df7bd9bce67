"""Conditional requests by entity tag, case by case (RFC 9110, 8.8.3 and 13; RFC 9111, 4.3.4)."""

import hashlib

import httpx
import pytest

from tests.core.http.conftest import serve_sqlite

TAG = "<tag>"
"""Stands for the tag of the answer in the tables."""

NOT_MODIFIED = (
    *(TAG, f"W/{TAG}", f"  {TAG}  ", "*", " * "),
    *(f'{TAG}, "other"', f'"other", W/"x", {TAG}', f'"other",{TAG},"x"', f', ,"other", ,{TAG},', f'"a,b", {TAG}'),
)
WHOLE = (
    *('"other"', '"a", W/"b", "c,d"', "abc", '"*"', '"a", "*"', "", '""', ", ,"),
    *('"', '"w/"', '"a b"', '"\xe9"'),
)
PATHS = ("/countries", "/countries/ghana", "/countries/image", "/status")


@pytest.fixture(scope="module")
async def loaded(tmp_path_factory, sqlite_template):
    """One service with data for the whole table; on SQLite alone, since the layer knows no database."""
    async with serve_sqlite(tmp_path_factory.mktemp("conditional"), sqlite_template) as client:
        await client.post("/countries/refresh")
        yield client


async def first(client: httpx.AsyncClient, path: str = "/countries", **headers: str) -> httpx.Response:
    return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", NOT_MODIFIED)
async def test_client_that_has_the_answer_gets_304_without_a_body(loaded, path, case):
    whole = await first(loaded, path)
    condition = case.replace(TAG, whole.headers["ETag"])

    for method in ("GET", "HEAD"):
        response = await loaded.request(method, path, headers={"If-None-Match": condition.encode()})

        assert (response.status_code, response.content) == (304, b"")
        kept = {"cache-control", "etag", "vary", "x-total-count", "link"}
        expected = {name: value for name, value in whole.headers.items() if name in kept}
        assert {name: value for name, value in response.headers.items() if name in kept} == expected
        assert not {"content-type", "content-length", "content-encoding"} & set(response.headers)


@pytest.mark.parametrize("case", WHOLE)
async def test_any_other_condition_gets_the_whole_answer(loaded, case):
    whole = await first(loaded)
    response = await loaded.get("/countries", headers={"If-None-Match": case.encode("latin-1")})

    assert (response.status_code, response.content) == (200, whole.content)


async def test_repeated_fields_are_one_list(loaded):
    tag = (await first(loaded)).headers["ETag"]
    response = await loaded.get("/countries", headers=[("If-None-Match", '"a"'), ("If-None-Match", tag)])

    assert response.status_code == 304


async def test_tag_is_strong_and_made_of_the_bytes_that_are_sent(loaded):
    response = await loaded.get("/countries/image")

    assert response.headers["ETag"] == f'"{hashlib.sha256(response.content).hexdigest()[:32]}"'


async def test_tag_of_another_coding_is_another_tag(loaded):
    zipped = (await first(loaded, **{"Accept-Encoding": "gzip"})).headers["ETag"]
    plain = await first(loaded, **{"Accept-Encoding": "identity", "If-None-Match": zipped})
    again = await first(loaded, **{"Accept-Encoding": "gzip", "If-None-Match": zipped})

    assert (plain.status_code, again.status_code) == (200, 304)
    assert plain.headers["ETag"] != zipped
    assert again.headers["ETag"] == zipped


async def test_dates_say_nothing_because_no_answer_has_one(loaded):
    whole = await first(loaded)
    tomorrow = "Sun, 22 Nov 2099 00:00:00 GMT"
    response = await first(loaded, **{"If-Modified-Since": tomorrow})
    both = await first(loaded, **{"If-Modified-Since": tomorrow, "If-None-Match": '"other"'})

    assert "Last-Modified" not in whole.headers
    assert (response.status_code, both.status_code) == (200, 200)


MATCHES = {TAG: 200, f'"other", {TAG}': 200, "*": 200, f"W/{TAG}": 412, '"other"': 412, "abc": 412}


@pytest.mark.parametrize("condition", MATCHES)
async def test_if_match_compares_strongly_and_goes_first(loaded, condition):
    tag = (await first(loaded)).headers["ETag"]
    given = condition.replace(TAG, tag)
    response = await first(loaded, **{"If-Match": given})
    with_both = await first(loaded, **{"If-Match": given, "If-None-Match": tag})

    assert response.status_code == MATCHES[condition]
    assert with_both.status_code == (304 if MATCHES[condition] == 200 else 412)
    if response.status_code == 412:
        details = {"If-Match": f"has changed since you read it; its ETag is now {tag}"}
        assert response.json() == {"error": "Precondition failed", "details": details}
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/nowhere", "/countries/atlantis", "/countries?limit=0"])
async def test_errors_take_no_part_in_it(loaded, path):
    plain = await loaded.get(path)
    for condition in ({"If-None-Match": "*"}, {"If-Match": '"x"'}):
        response = await loaded.get(path, headers=condition)

        assert (response.status_code, response.content) == (plain.status_code, plain.content)
        assert "ETag" not in response.headers


async def test_page_whose_neighbours_changed_tells_so_with_its_304(loaded):
    page = await first(loaded, "/countries?limit=2")
    await loaded.delete("/countries/zimbabwe")
    again = await first(loaded, "/countries?limit=2", **{"If-None-Match": page.headers["ETag"]})
    await loaded.post("/countries/refresh")  # the other cases get their country back

    assert again.status_code == 304
    assert (page.headers["X-Total-Count"], again.headers["X-Total-Count"]) == ("250", "249")
