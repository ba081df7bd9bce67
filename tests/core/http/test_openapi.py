"""The OpenAPI document is complete: whoever reads only it can use the service."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from app import __version__
from app.main import app as default_app
from app.main import create_app
from app.service.docs import DOCUMENT
from scripts.openapi_file import generate, text_of
from tests.conftest import make_settings

ACCESS = (401, 403, 429)
MEDIA_TYPES = ["application/json", "application/x-ndjson", "image/png", "text/csv", "text/html", "text/plain"]
BODY = (408, 413, 415)
OPERATIONS = {
    ("get", "/"): [304, 400, 412, 429, 500, 503],
    ("get", "/status"): [304, 400, 404, 412, 429, 500, 503],
    ("get", "/data-sources"): [304, 400, 412, 429, 500, 503],
    ("get", "/health/live"): [400, 500],
    ("get", "/health/ready"): [400, 500, 503],
    ("get", "/metrics"): [400, 500],
    ("get", "/countries"): [304, 400, 412, 429, 500, 503],
    ("post", "/countries/refresh"): [400, *ACCESS, 409, 500, 503],
    ("get", "/countries/image"): [304, 400, 404, 412, 429, 500, 503],
    ("get", "/countries/{name}"): [304, 400, 404, 412, 429, 500, 503],
    ("get", "/countries/{name}/history"): [304, 400, 404, 412, 429, 500, 503],
    ("delete", "/countries/{name}"): [400, *ACCESS, 404, 500, 503],
    ("get", "/rates"): [304, 400, 404, 412, 429, 500, 503],
    ("get", "/rates/latest"): [304, 400, 404, 412, 429, 500, 503],
    ("get", "/rates/{from}..{to}"): [304, 400, 404, 412, 413, 429, 500, 503],
    ("get", "/rates/{from}.."): [304, 400, 404, 412, 413, 429, 500, 503],
    ("get", "/rates/{date}"): [304, 400, 404, 412, 429, 500, 503],
    ("get", "/convert"): [304, 400, 404, 412, 429, 500, 503],
    ("get", "/currencies"): [304, 400, 412, 429, 500, 503],
    ("get", "/currencies/{code}"): [304, 400, 404, 412, 429, 500, 503],
    ("delete", "/auth/token"): [400, *ACCESS, 500, 503],
    ("post", "/auth/token"): [400, 401, *BODY, 429, 500, 503],
    ("get", "/users/me"): [400, *ACCESS, 404, 500, 503],
    ("get", "/users/me/api-keys"): [400, *ACCESS, 500, 503],
    ("post", "/users/me/api-keys"): [400, *ACCESS, 409, *BODY, 500, 503],
    ("delete", "/users/me/api-keys/{key_id}"): [400, *ACCESS, 404, 500, 503],
    ("get", "/users"): [400, *ACCESS, 500, 503],
    ("post", "/users"): [400, *ACCESS, 409, *BODY, 500, 503],
    ("get", "/users/{user_id}"): [400, *ACCESS, 404, 500, 503],
    ("put", "/users/{user_id}"): [400, *ACCESS, 404, 409, 412, *BODY, 500, 503],
    ("patch", "/users/{user_id}"): [400, *ACCESS, 404, 409, 412, *BODY, 500, 503],
    ("delete", "/users/{user_id}"): [400, *ACCESS, 404, 412, 500, 503],
    ("get", "/users/{user_id}/addresses"): [400, *ACCESS, 404, 500, 503],
    ("post", "/users/{user_id}/addresses"): [400, *ACCESS, 404, 409, *BODY, 500, 503],
    ("get", "/users/{user_id}/addresses/{address_id}"): [400, *ACCESS, 404, 500, 503],
    ("put", "/users/{user_id}/addresses/{address_id}"): [400, *ACCESS, 404, 412, *BODY, 500, 503],
    ("delete", "/users/{user_id}/addresses/{address_id}"): [400, *ACCESS, 404, 412, 500, 503],
    ("post", "/tracking/sms_transfers"): [400, *ACCESS, *BODY, 500, 503],
    ("get", "/tracking/sms_transfers"): [400, *ACCESS, 500, 503],
    ("get", "/tracking/sms_transfers/{ubid}"): [400, *ACCESS, 404, 500, 503],
    ("delete", "/tracking/sms_transfers/{ubid}"): [400, *ACCESS, 404, 500, 503],
    ("put", "/tracking/sms_transfers/{ubid}/{state}"): [400, *ACCESS, 404, 409, 500, 503],
    ("post", "/tracking/sms_documents"): [400, *ACCESS, 409, *BODY, 500, 503],
    ("post", "/tracking/sms_documents/{ubid}/stream"): [400, *ACCESS, 409, *BODY, 500, 503],
    ("get", "/tracking/sms_documents/{ubid}"): [400, *ACCESS, 404, 500, 503],
    ("get", "/tracking/sms_documents/{ubid}/items"): [400, *ACCESS, 404, 500, 503],
    ("put", "/tracking/sms_documents/{ubid}/{state}"): [400, *ACCESS, 404, 409, 500, 503],
    ("get", "/audit"): [400, *ACCESS, 500, 503],
}


def shape(app: FastAPI) -> list[tuple[Any, ...]]:
    """What every route is, without the one that an application made of it."""
    routes = iter_route_contexts(app.routes)
    return [(each.path, each.methods, each.name, each.endpoint.__qualname__) for each in routes if each.endpoint]


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    database = tmp_path_factory.mktemp("openapi") / "x.db"
    return generate(create_app(make_settings(database_url=f"sqlite:///{database}")))


@pytest.fixture(params=OPERATIONS, ids=" ".join)
def operation(request, document):
    method, path = request.param
    return document["paths"][path][method]


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that a response may follow, references and alternatives followed."""
    if "$ref" in schema:
        return resolved(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    if "items" in schema:
        return resolved(document, schema["items"])
    if "anyOf" in schema:
        return [found for choice in schema["anyOf"] for found in resolved(document, choice)]
    return [schema]


def is_named(schema: dict[str, Any]) -> bool:
    """Whether it is a component, a list of one, or text."""
    return schema.keys() == {"$ref"} or schema["type"] == "string" or schema["items"].keys() == {"$ref"}


def has_example(schema: dict[str, Any]) -> bool:
    properties = schema.get("properties", {}).values()
    return bool(schema.get("examples")) or all("examples" in field or "const" in field for field in properties)


def test_file_that_is_sent_has_the_document_of_the_routes(document):
    is_current = DOCUMENT.read_text(encoding="utf-8") == text_of(document)

    assert is_current, "the contract has changed; run .venv/bin/python -m scripts.openapi_file, and look at the diff"


def test_document_lists_every_operation_and_no_other(document):
    listed = {(method, path) for path, operations in document["paths"].items() for method in operations}
    ids = [operation["operationId"] for operations in document["paths"].values() for operation in operations.values()]

    assert listed == set(OPERATIONS)
    assert "422" not in str(document["paths"])
    assert "ValidationError" not in str(document)
    picture = document["paths"]["/countries/image"]["get"]["responses"]["200"]["content"]
    assert picture == {"image/png": {"schema": {"type": "string", "format": "binary"}}}
    assert len(set(ids)) == len(ids)
    assert document["info"]["title"] == "Country Data & Currency Exchange API"
    assert document["info"]["version"] == __version__
    assert "illustration, not a statistic" in document["info"]["description"]


def test_every_operation_has_one_described_tag_a_summary_and_described_parameters(document, operation):
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    parameters = operation.get("parameters", ())

    assert len(operation["tags"]) == 1
    assert set(operation["tags"]) <= described
    assert operation["summary"]
    assert [item["name"] for item in parameters if not item.get("description")] == []
    assert "null" not in str([item["schema"] for item in parameters]), "a parameter is never null"
    assert all(item["schema"].get("minLength", 1) > 0 for item in parameters), "nor blank in a query"


def test_every_success_is_described_by_a_model_with_an_example_or_is_a_picture_or_text(document, operation):
    (success,) = (response for status, response in operation["responses"].items() if status.startswith("2"))

    assert success["description"]
    if "204" in operation["responses"]:
        assert "content" not in success
        return
    for media_type, content in success["content"].items():
        schemas = resolved(document, content["schema"])
        assert media_type in MEDIA_TYPES
        if media_type == "application/json":
            assert all(schema["properties"] and has_example(schema) for schema in schemas)


def test_no_body_needs_a_name_that_a_generator_would_make_up(document, operation):
    bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
    schemas = [content["schema"] for body in bodies for content in body.get("content", {}).values()]

    assert [schema for schema in schemas if not is_named(schema)] == []


def test_titles_and_names_of_schemas_are_the_same_and_unique(document):
    schemas = document["components"]["schemas"]
    nested = [field for schema in schemas.values() for field in schema.get("properties", {}).values()]

    assert {name: schema["title"] for name, schema in schemas.items()} == {name: name for name in schemas}
    assert len({name.lower() for name in schemas}) == len(schemas)
    assert [field for field in nested if "properties" in field or "properties" in str(field.get("items"))] == []


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_error_that_may_come_is_documented_in_the_one_shape(document, method, path):
    responses = document["paths"][path][method]["responses"]
    others = {int(status): response for status, response in responses.items() if not status.startswith("2")}

    assert sorted(others) == sorted(OPERATIONS[method, path])
    for status, response in others.items():
        assert response["description"]
        if status == 304:
            assert "content" not in response
            continue
        assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/ErrorBody"}


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_operations_that_are_not_for_everyone_say_for_whom_and_take_key_or_token(document, method, path):
    operation = document["paths"][path][method]
    is_open = operation["x-access"] == "everyone"

    assert is_open is (401 not in OPERATIONS[method, path] or (method, path) == ("post", "/auth/token"))
    assert operation.get("security") == (None if is_open else [{"ApiKey": []}, {"Token": []}])
    assert f"For: {operation['x-access']}." in operation.get("description", "") or is_open


def test_key_and_token_travel_in_their_headers(document):
    key, token = document["components"]["securitySchemes"].values()

    assert (key["type"], key["in"], key["name"]) == ("apiKey", "header", "X-API-Key")
    assert "ADMIN_API_KEY" in key["description"]
    assert (token["type"], token["flows"]) == ("oauth2", {"password": {"tokenUrl": "auth/token", "scopes": {}}})


def test_passwords_go_in_and_never_out(document):
    schemas = document["components"]["schemas"]
    with_password = {name for name, schema in schemas.items() if "password" in schema.get("properties", {})}

    assert with_password == {"SignInForm", "UserCreate", "UserReplace", "UserUpdate"}
    assert all(schemas[name]["properties"]["password"]["writeOnly"] for name in with_password)


def test_every_schema_is_described_and_used(document):
    schemas, text = document["components"]["schemas"], str(document)

    assert {name for name, schema in schemas.items() if not schema.get("description")} == set()
    assert {name for name in schemas if f"/schemas/{name}'" not in text} == set()


def test_list_documents_its_headers_and_limits(document):
    listing = document["paths"]["/countries"]["get"]
    parameters = {item["name"]: item["schema"] for item in listing["parameters"]}

    assert listing["responses"]["200"]["headers"].keys() == {"X-Total-Count", "Link"}
    assert list(parameters) == ["region", "currency", "q", "sort", "limit", "offset", "fields", "decimals", "format"]
    assert {"minimum": 1, "maximum": 1000}.items() <= parameters["limit"].items()


def test_links_lead_to_operations_and_name_parameters_of_theirs(document):
    every = [operation for path in document["paths"].values() for operation in path.values()]
    operations = {one["operationId"]: {item["name"] for item in one.get("parameters", ())} for one in every}
    responses = [response for operation in every for response in operation["responses"].values()]
    links = [link for response in responses for link in response.get("links", {}).values()]

    assert len(links) == 20
    assert all(link["parameters"].keys() <= operations[link["operationId"]] for link in links)


def test_no_setting_reaches_a_route(document, tmp_path):
    """So the tests may let all applications share the routes of one."""
    access = {"environment": "production", "admin_api_key": "k" * 16, "token_hours": 1}
    urls = {"audit_webhook_url": "http://hook.example/x", "cors_origins": "https://page.example"}
    changed = {"cache_max_bytes": 0, "max_body_bytes": 1, "log_requests": "all", **access, **urls}
    other = create_app(make_settings(database_url=f"sqlite:///{tmp_path}/x.db", **changed))

    assert generate(other) == document
    assert other.openapi() == document
    assert shape(other) == shape(default_app)
