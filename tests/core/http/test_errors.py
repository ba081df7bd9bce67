"""The one shape of every error: bodies refused by field, and what nobody foresaw."""

import io
import json
from typing import Any

import pytest

from app.core.telemetry.log import configure_logging
from tests.conftest import make_settings

JSON = {"Content-Type": "application/json"}
INTERNAL = {"error": "Internal server error"}


@pytest.fixture
def lines(parcels: Any) -> io.StringIO:
    """What is logged once the application stands."""
    stream = io.StringIO()
    configure_logging(make_settings(log_level="INFO"), stream)
    return stream


@pytest.mark.parametrize(
    ("content", "details"),
    [
        (b'{"name": "a"', {"body": "is not valid JSON"}),
        (b"name=a", {"body": "is not valid JSON"}),
        (b'{"name": "\xff"}', {"body": "is not valid JSON"}),
        (b"[" * 100_000, {"body": "is not valid JSON"}),
        (b'{"name": "a", "pieces": ' + b"9" * 5000 + b"}", {"body": "is not valid JSON"}),
        (b'{"name": "a", "pieces": "' + b"9" * 5000 + b'"}', {"pieces": "has too many digits"}),
        (b"", {"body": "is required"}),
        (b"null", {"body": "must be an object"}),
        (b'[{"name": "a"}]', {"body": "must be an object"}),
        (b"{}", {"name": "is required"}),
        (b'{"pieces": "two"}', {"name": "is required", "pieces": "must be a whole number"}),
        (b'{"name": "a", "weight": NaN}', {"weight": "must be a finite number"}),
        (b'{"name": "a", "weight": -Infinity}', {"weight": "must be a finite number"}),
        (b'{"name": "a", "weight": 1e999}', {"weight": "must be a finite number"}),
    ],
    ids=lambda value: None if isinstance(value, dict) else repr(value[:30]),
)
async def test_body_that_is_not_as_it_should_be_is_refused_by_field(parcels, content, details):
    response = await parcels.post("/parcels", content=content, headers=JSON)

    assert (response.status_code, response.json()) == (400, {"error": "Validation failed", "details": details})


async def test_unforeseen_exception_is_an_answer_like_any_other_without_details(parcels):
    response = await parcels.get("/broken", headers={"Origin": "https://page.example", "X-Request-ID": "r-1"})
    head = await parcels.head("/broken")

    assert (response.status_code, response.json()) == (500, INTERNAL)
    assert (head.status_code, head.content) == (500, b"")
    expected = {"content-type": "application/json", "x-request-id": "r-1", "cache-control": "no-store"}
    assert {**expected, "access-control-allow-origin": "*"}.items() <= dict(response.headers).items()
    assert "hunter2" not in str(response.headers)


async def test_unforeseen_exception_is_logged_once_with_the_id_of_its_request(parcels, lines):
    await parcels.get("/broken", headers={"X-Request-ID": "r-2"})

    logged = lines.getvalue()
    assert logged.count("RuntimeError: the password is hunter2") == 1
    assert "| ERROR   | r-2 | GET /broken failed\n    | Traceback" in logged
    assert [line for line in logged.splitlines() if not line.startswith("    | ")] == [logged.splitlines()[0]]


async def test_foreseen_errors_are_not_logged_as_exceptions_nor_kept_by_a_cache(parcels, lines):
    for method, path in (("GET", "/nowhere"), ("GET", "/status?x"), ("PUT", "/status"), ("POST", "/parcels")):
        response = await parcels.request(method, path)

        assert (path, response.is_client_error, response.headers["Cache-Control"]) == (path, True, "no-store")
    assert lines.getvalue() == ""


async def test_errors_of_the_framework_take_our_shape_and_keep_their_headers(parcels):
    response = await parcels.get("/teapot")

    assert (response.status_code, response.json()) == (418, {"error": "I am a teapot"})
    assert (response.headers["X-Tea"], response.headers["Cache-Control"]) == ("none", "no-store")


async def test_answer_that_breaks_half_way_is_no_second_answer(parcels):
    with pytest.raises(RuntimeError, match="no second half"):
        await parcels.get("/half")


async def test_list_of_problems_has_an_end(parcels):
    content = json.dumps({"name": "a", **{f"field {n}": n for n in range(5_000)}})
    answer = await parcels.post("/strict", content=content, headers=JSON)

    assert answer.status_code == 400
    assert len(answer.json()["details"]) == 100
