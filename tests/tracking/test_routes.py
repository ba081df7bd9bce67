"""The routes of transfers and documents, with a store in memory instead of a database."""

import inspect
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.core.errors import DatabaseUnavailable
from app.main import create_app
from app.tracking.crud import Tracking
from app.tracking.router import get_tracking
from tests.conftest import make_settings
from tests.tracking.memory import TrackingInMemory

TRANSFERS, DOCUMENTS = "/tracking/sms_transfers", "/tracking/sms_documents"
UBID = "0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
NOT_FOUND = {"error": "Transfer not found"}
NO_UUID = "must be a UUID, such as 0b7d1c52-3f7e-4e0c-9a55-6a1f5f7c2b10"
STATES = "must be one of: INIT, SENT, DONE"
NO_PARAMETERS = "unknown parameter; this request takes none"
OF_ONE_TRANSFER = (
    *((method, f"{TRANSFERS}/{{}}{end}") for method, end in (("GET", ""), ("PUT", "/SENT"), ("DELETE", ""))),
    *((method, f"{DOCUMENTS}/{{}}{end}") for method, end in (("GET", ""), ("GET", "/items"), ("PUT", "/SENT"))),
)


@pytest.fixture
def store() -> TrackingInMemory:
    return TrackingInMemory()


@pytest.fixture(scope="module")
def app() -> FastAPI:
    """The application as it is; it is never started, so it has no database."""
    return create_app(make_settings())


@pytest.fixture
async def api(app: FastAPI, store: TrackingInMemory) -> AsyncIterator[httpx.AsyncClient]:
    app.dependency_overrides[get_tracking] = lambda: store

    async def without_database(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {"database": None}}, receive, send)

    transport = httpx.ASGITransport(without_database)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


@pytest.fixture
async def filled(api: httpx.AsyncClient, data: Any) -> httpx.AsyncClient:
    """With one transfer and its two documents."""
    assert (await api.post(TRANSFERS, json=data["transfer"])).status_code == 201
    batch = {"UBID": data["ubid"], "documents": data["documents"]}
    assert (await api.post(DOCUMENTS, json=batch)).status_code == 201
    return api


def result(response: httpx.Response) -> tuple[int, Any]:
    return response.status_code, response.json()


def refused(details: Any) -> tuple[int, Any]:
    return 400, {"error": "Validation failed", "details": details}


def test_store_in_memory_has_the_methods_of_the_real_one():
    for name, method in inspect.getmembers(Tracking, inspect.iscoroutinefunction):
        assert inspect.signature(getattr(TrackingInMemory, name)) == inspect.signature(method), name


async def test_every_route_answers_as_the_contract_says(api, data):
    ubid, stored = data["ubid"], data["transfer_stored"]
    one, two = data["documents_stored"]
    after = f"for UBID '{ubid}' in table tracking.sms_documents"
    batch = {"UBID": ubid, "documents": data["documents"]}

    created = await api.post(TRANSFERS, json=data["transfer"])
    inserted = await api.post(DOCUMENTS, json=batch)
    listed = await api.get(TRANSFERS)
    found = await api.get(f"{TRANSFERS}/{ubid}")
    counted = await api.get(f"{DOCUMENTS}/{ubid}")
    items = await api.get(f"{DOCUMENTS}/{ubid}/items")
    advanced = await api.put(f"{DOCUMENTS}/{ubid}/SENT")
    sent = await api.put(f"{TRANSFERS}/{ubid}/SENT")
    details = await api.get(f"{TRANSFERS}/{ubid}")
    lines = "\n".join(json.dumps(document) for document in data["documents"])
    headers = {"Content-Type": "application/x-ndjson"}
    streamed = await api.post(f"{DOCUMENTS}/{ubid}/stream", content=lines, headers=headers)
    deleted = await api.delete(f"{TRANSFERS}/{ubid}")

    assert result(created) == (201, stored)
    assert result(inserted) == (201, {"result": f"Inserted 2 document(s) {after}"})
    assert result(listed) == (200, [stored])
    assert (listed.headers["X-Total-Count"], listed.headers["Cache-Control"]) == ("1", "no-store")
    assert result(found) == (200, {**stored, "states": {"INIT": 2, "SENT": 0, "DONE": 0}})
    assert result(counted) == (200, {"result": f"Found 2 document(s) {after}"})
    assert result(items) == (200, [one, two])
    assert "Link" not in items.headers
    assert result(advanced) == (200, {"result": f"Updated state to 'SENT' in 2 row(s) {after}"})
    assert result(sent) == (200, {**stored, "state": "SENT"})
    assert result(details) == (200, {**stored, "state": "SENT", "states": {"INIT": 0, "SENT": 2, "DONE": 0}})
    assert result(streamed) == (201, {"UBID": ubid, "lines": 2, "batches": 1})
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert result(await api.get(f"{TRANSFERS}/{ubid}")) == (404, NOT_FOUND)


async def test_ubid_ignores_case(api, data):
    ubid = data["ubid"].upper()
    created = await api.post(TRANSFERS, json={**data["transfer"], "UBID": ubid})
    inserted = await api.post(DOCUMENTS, json={"UBID": ubid, "documents": data["documents"]})

    assert result(created) == (201, data["transfer_stored"])
    assert data["ubid"] in inserted.json()["result"]
    assert data["ubid"] in (await api.get(f"{DOCUMENTS}/{ubid}")).json()["result"]
    assert (await api.get(f"{TRANSFERS}/{ubid}")).json()["UBID"] == data["ubid"]
    assert (await api.delete(f"{TRANSFERS}/{ubid}")).status_code == 204


async def test_names_are_stripped_and_numbers_may_end_in_point_zero(api, data):
    change = {"fileName": f" {'x' * 53} ", "origName": "é" * 50, "SMScount": 3.0}
    created = await api.post(TRANSFERS, json={**data["transfer"], **change})

    assert result(created) == (201, {**data["transfer_stored"], **change, "fileName": "x" * 53, "SMScount": 3})


async def test_wrong_transfer_is_refused_by_field(api, store, data):
    for wrong in data["wrong_transfers"]:
        response = await api.post(TRANSFERS, json={**data["transfer"], **wrong["change"]})

        assert (wrong["change"], *result(response)) == (wrong["change"], *refused(wrong["details"]))
    names = dict.fromkeys(data["transfer"], "is required")
    assert result(await api.post(TRANSFERS, json={})) == refused(names)
    assert result(await api.post(TRANSFERS, json=[])) == refused({"body": "must be an object"})
    assert store.transfers == {}


async def test_wrong_document_is_refused_by_place_and_field(filled, store, data):
    before = dict(store.documents[data["ubid"]])
    for wrong in data["wrong_documents"]:
        documents = [data["documents"][1], {**data["documents"][0], **wrong["change"]}]
        response = await filled.post(DOCUMENTS, json={"UBID": data["ubid"], "documents": documents})

        expected = refused({f"documents.1.{wrong['field']}": wrong["why"]})
        assert (wrong["change"], *result(response)) == (wrong["change"], *expected)
    assert store.documents[data["ubid"]] == before


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('{"a": NaN}', "must not contain NaN or Infinity, which JSON does not allow"),
        ('{"a": [-Infinity]}', "must not contain NaN or Infinity, which JSON does not allow"),
        ('{"a": 1e999}', "must not contain NaN or Infinity, which JSON does not allow"),
        (r'{"a": "\ud83d"}', "must not contain an unpaired surrogate"),
        ('{"a":' + "[" * 300 + "]" * 300 + "}", "must be nested at most 100 levels deep"),
        ('{"a":' + "[" * 100 + "]" * 100 + "}", "must be nested at most 100 levels deep"),
        (json.dumps({"a": "x" * 65_529}), "must have at most 65536 bytes as JSON"),
        (json.dumps({"a": "é" * 32_765}), "must have at most 65536 bytes as JSON"),
    ],
    ids=["NaN", "Infinity", "1e999", "half", "endless", "deep", "large", "large in bytes"],
)
async def test_data_that_no_response_could_show_are_refused(filled, data, written, why):
    body = f'{{"UBID": "{data["ubid"]}", "documents": [{{"SMScount": 1, "uniqueId": "A", "data": {written}}}]}}'
    response = await filled.post(DOCUMENTS, content=body, headers={"Content-Type": "application/json"})

    assert result(response) == refused({"documents.0.data": why})


async def test_data_are_returned_as_they_were_sent(filled, data):
    given = [{"a": "x" * 65_528}, {"é": "é" * 32_763}, {"NaN": "Infinity"}, {"number": 10**400}, {"a": "[" * 200}]
    given.append({"a": json.loads("[" * 99 + "]" * 99)})
    documents = [{"SMScount": 1, "uniqueId": str(number), "data": each} for number, each in enumerate(given)]
    sent = await filled.post(DOCUMENTS, json={"UBID": data["ubid"], "documents": documents})

    assert sent.status_code == 201, sent.text
    items = (await filled.get(f"{DOCUMENTS}/{data['ubid']}/items?limit={len(given)}")).json()
    assert [item["data"] for item in items] == given


async def test_batch_has_one_to_5000_documents(filled, data):
    ubid = data["ubid"]
    documents = [{"SMScount": 1, "uniqueId": str(number), "data": {}} for number in range(5001)]

    none = await filled.post(DOCUMENTS, json={"UBID": ubid, "documents": []})
    too_many = await filled.post(DOCUMENTS, json={"UBID": ubid, "documents": documents})
    most = await filled.post(DOCUMENTS, json={"UBID": ubid, "documents": documents[:5000]})

    assert result(none) == refused({"documents": "must not be empty"})
    assert result(too_many) == refused({"documents": "must have at most 5000 entries"})
    told = f"Inserted 5000 document(s) for UBID '{ubid}' in table tracking.sms_documents"
    assert result(most) == (201, {"result": told})


async def test_body_of_a_batch_is_an_object_with_two_fields(filled, data):
    documents = data["documents"]
    for body, details in (
        ({}, {"UBID": "is required", "documents": "is required"}),
        ({"UBID": "x", "documents": documents}, {"UBID": NO_UUID}),
        ({"UBID": data["ubid"], "documents": {}}, {"documents": "must be a list"}),
        ({"UBID": data["ubid"], "documents": [5]}, {"documents.0": "must be an object"}),
        ({"UBID": UBID, "documents": documents, "state": "SENT"}, {"state": "is not a field of this request"}),
    ):
        assert result(await filled.post(DOCUMENTS, json=body)) == refused(details)


async def test_thousands_of_mistakes_are_refused_as_one(filled, data):
    unknown = {f"a{number}": 0 for number in range(20_001)}
    document = {**data["documents"][0], **unknown}
    batch = {"UBID": data["ubid"], "documents": data["documents"]}
    for path, body in (
        (DOCUMENTS, {**batch, **unknown}),
        (DOCUMENTS, {**batch, "documents": [document]}),
    ):
        answer = await filled.post(path, json=body)
        assert (path, *result(answer)) == (path, *refused({"body": "has more than 20000 mistakes"}))

    all_wrong = await filled.post(DOCUMENTS, json={**batch, "documents": [{}] * 5000})
    assert len(all_wrong.json()["details"]) == 100


async def test_unknown_transfer_is_not_found_and_accepts_no_documents(filled, data):
    other = data["other_ubid"]
    for method, path in OF_ONE_TRANSFER:
        answer = await filled.request(method, path.format(other))
        assert (path, *result(answer)) == (path, 404, NOT_FOUND)

    missing = {"error": "Transfer missing", "details": f"No transfer has the UBID '{other}'; create it first"}
    batch = {"UBID": other, "documents": data["documents"]}
    headers = {"Content-Type": "application/x-ndjson"}
    assert result(await filled.post(DOCUMENTS, json=batch)) == (409, missing)
    for content in ("", json.dumps(data["documents"][0])):
        streamed = await filled.post(f"{DOCUMENTS}/{other}/stream", content=content, headers=headers)
        assert result(streamed) == (409, missing)


async def test_database_error_in_a_stream_names_what_was_stored_before(filled, store, data, monkeypatch):
    put_documents, calls = store.put_documents, []

    async def failing(ubid: str, documents: Any) -> Any:
        calls.append(len(documents))
        if len(calls) == 3:
            raise DatabaseUnavailable("No answer from the database within 60 s")
        return await put_documents(ubid, documents)

    monkeypatch.setattr(store, "put_documents", failing)
    lines = "".join(f'{{"SMScount":1,"uniqueId":"{number}","data":{{}}}}\n' for number in range(12_000))
    headers = {"Content-Type": "application/x-ndjson"}
    answer = await filled.post(f"{DOCUMENTS}/{data['ubid']}/stream", content=lines, headers=headers)

    details = "No answer from the database within 60 s; stored: 10000 document(s) from earlier lines"
    assert result(answer) == (503, {"error": "Database unavailable", "details": details})
    assert answer.headers["Retry-After"] == "2"
    assert calls == [5000, 5000, 2000]


async def test_states_only_go_forward(filled, data):
    ubid = data["ubid"]
    for kind in (TRANSFERS, DOCUMENTS):
        for state, status in (("INIT", 200), ("SENT", 200), ("SENT", 200), ("INIT", 409), ("DONE", 200), ("SENT", 409)):
            response = await filled.put(f"{kind}/{ubid}/{state}")
            assert (kind, state, response.status_code) == (kind, state, status)
        why = "The state is already DONE and can't go back to INIT"
        refusal = (409, {"error": "Step backwards", "details": why})
        assert result(await filled.put(f"{kind}/{ubid}/INIT")) == refusal


async def test_unknown_state_and_path_without_a_uuid_are_refused(api):
    for kind in (TRANSFERS, DOCUMENTS):
        for state in ("sent", "LOST", "%20", "SENT,DONE", "0"):
            assert result(await api.put(f"{kind}/{UBID}/{state}")) == refused({"state": STATES})
    for method, path in OF_ONE_TRANSFER:
        answer = await api.request(method, path.format("nonsense"))
        assert (path, *result(answer)) == (path, *refused({"ubid": NO_UUID}))


PARAMETERS = {
    TRANSFERS: {
        "limit=0": {"limit": "must be at least 1"},
        "limit=1001": {"limit": "must be at most 1000"},
        "limit=x": {"limit": "must be a whole number"},
        "offset=-1": {"offset": "must be at least 0"},
        "state=sent": {"state": STATES},
        "state=": {"state": "must not be blank"},
        "stat=SENT": {"stat": "unknown parameter; allowed: state, limit, offset"},
        "limit=1&limit=2": {"limit": "is given more than once"},
    },
    f"{DOCUMENTS}/{UBID}/items": {
        "limit=0": {"limit": "must be at least 1"},
        "limit=5001": {"limit": "must be at most 5000"},
        "after=A0000000010": {"after": "must have at most 10 characters"},
        "after=": {"after": "must not be blank"},
        "after=A%00": {"after": "must not contain control characters"},
        "offset=1": {"offset": "unknown parameter; allowed: after, limit"},
    },
    **{path: {"force=1": {"force": NO_PARAMETERS}} for path in (f"{TRANSFERS}/{UBID}", f"{DOCUMENTS}/{UBID}")},
}


async def test_wrong_parameters_are_refused(filled):
    for path, queries in PARAMETERS.items():
        for query, details in queries.items():
            answer = await filled.get(f"{path}?{query}")
            assert (path, query, *result(answer)) == (path, query, *refused(details))
    assert result(await filled.delete(f"{TRANSFERS}/{UBID}?force=1")) == refused({"force": NO_PARAMETERS})


async def test_transfers_are_listed_by_page_and_state(api, data):
    ubids = [f"0000000{number}-3f7e-4e0c-9a55-6a1f5f7c2b10" for number in range(5)]
    for ubid in ubids:
        await api.post(TRANSFERS, json={**data["transfer"], "UBID": ubid})
    await api.put(f"{TRANSFERS}/{ubids[1]}/SENT")

    page = await api.get(f"{TRANSFERS}/?limit=2&offset=2")
    sent = await api.get(f"{TRANSFERS}?state=SENT")

    assert [transfer["UBID"] for transfer in page.json()] == [ubids[2], ubids[1]]
    assert page.headers["X-Total-Count"] == "5"
    assert page.headers["Link"] == (
        f'<{TRANSFERS}?limit=2&offset=0>; rel="first", <{TRANSFERS}?limit=2&offset=4>; rel="last", '
        f'<{TRANSFERS}?limit=2&offset=0>; rel="prev", <{TRANSFERS}?limit=2&offset=4>; rel="next"'
    )
    assert ([transfer["UBID"] for transfer in sent.json()], sent.headers["X-Total-Count"]) == ([ubids[1]], "1")


async def test_link_header_leads_through_the_pages_of_documents(api, data):
    ids = ["1", "a&b", "a+b", "a/?#é", "ü 1"]
    await api.post(TRANSFERS, json=data["transfer"])
    documents = [{"SMScount": 1, "uniqueId": unique_id, "data": {}} for unique_id in ids]
    await api.post(DOCUMENTS, json={"UBID": data["ubid"], "documents": documents})
    path, found = f"{DOCUMENTS}/{data['ubid']}/items", []

    first = await api.get(f"{path}/?limit=2")
    assert first.headers["Link"] == f'<{path}?after=a%26b&limit=2>; rel="next"'
    url = f"{path}?limit=2"
    while url:
        page = await api.get(url)
        found.append([document["uniqueId"] for document in page.json()])
        url = page.links["next"]["url"] if "Link" in page.headers else ""

    assert found == [ids[0:2], ids[2:4], ids[4:]]


async def test_body_of_another_type_is_refused(filled, data):
    for path, taken in (
        (TRANSFERS, "application/json"),
        (DOCUMENTS, "application/json"),
        (f"{DOCUMENTS}/{data['ubid']}/stream", "application/x-ndjson"),
    ):
        for given in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
            response = await filled.post(path, content=b"{}", headers={"Content-Type": given})

            expected = {"error": "Unsupported media type", "details": f"The header Content-Type must be {taken}"}
            assert result(response) == (415, expected)
    streamed = await filled.post(f"{DOCUMENTS}/{data['ubid']}/stream", json=data["documents"][0])
    assert streamed.status_code == 415
