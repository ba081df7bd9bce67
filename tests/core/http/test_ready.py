"""Answers that are ready before ASGI begins: what is remembered, for how long, and how much of it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import pytest

from app.core.http.cache.ready import ReadyAnswers, Spelling, spell
from app.core.http.cache.store import ResponseStore, finish
from app.core.http.request_notes import RequestNotes
from app.core.telemetry.counts import Counts
from app.core.telemetry.log import LogLines
from tests.conftest import make_settings

SERVER = [(b"date", b"today")]
HOST = (b"host", b"a")
START = {"status": 200, "headers": ((b"content-length", b"2"),)}


class Version:
    """A data version that is always known."""

    number = 1

    def is_known(self, version: int) -> bool:
        return version == self.number


@dataclass
class Moment:
    """A clock that stands until a test moves it."""

    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def version():
    return Version()


@pytest.fixture
def moment():
    return Moment()


@pytest.fixture
def ready(version, moment):
    lines = LogLines(None, lambda text: text)
    counts = Counts()
    notes = RequestNotes(make_settings(log_requests="off"), lines, counts)
    return ReadyAnswers(version, counts, notes, clock=moment)


def spelt(target: bytes, *fields: tuple[bytes, bytes]) -> Spelling | None:
    return spell(target, dict([HOST, *fields]), [HOST, *fields])


def keep(
    ready: ReadyAnswers, target: bytes, *fields: tuple[bytes, bytes], version: int = 1, day: date | None = None
) -> None:
    spelling = spelt(target, *fields)
    assert spelling is not None
    ready.keep(spelling, {"path": target.decode()}, START, b"[]", route="/", kept=finish(version, [], b"[]", day=day))


def test_answer_is_sent_as_it_was_with_an_id_and_what_the_server_adds(ready):
    keep(ready, b"/a")
    head, body = ready.answer_parsed(b"/a", [HOST, (b"x-request-id", b"mine")], b"", SERVER)

    assert head == b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: 2\r\nx-request-id: mine\r\n\r\n"
    assert body == b"[]"


@pytest.mark.parametrize("name", [b"accept", b"accept-encoding", b"if-none-match"])
def test_answer_belongs_to_what_it_depends_on(ready, name):
    keep(ready, b"/a", (name, b"x"))

    assert ready.answer_parsed(b"/a", [HOST, (name, b"x")], b"", SERVER) is not None
    for fields in ([HOST], [HOST, (name, b"y")], [HOST, (name, b"x"), (name, b"x")]):
        assert ready.answer_parsed(b"/a", fields, b"", SERVER) is None
    assert ready.answer_parsed(b"/b", [HOST, (name, b"x")], b"", SERVER) is None


def test_request_that_another_layer_must_see_has_no_spelling():
    for name in (b"authorization", b"x-api-key", b"origin", b"if-match", b"content-length", b"transfer-encoding"):
        assert spelt(b"/a", (name, b"x")) is None
    assert spelt(b"/a", (b"cookie", b"x")) == (b"/a", None, None, None)
    assert spell(b"/a", {}, []) is None, "without a Host it is refused"
    assert spelt(b"/a", HOST) is None


def test_answer_that_varies_by_something_else_is_not_kept(ready):
    for names, is_kept in ((b"Accept, Accept-Encoding", True), (b"Origin", True), (b"Accept-Language", False)):
        start = {**START, "headers": ((b"vary", names),)}
        ready.keep(spelt(b"/" + names), {"path": "/"}, start, b"[]", route="/", kept=finish(1, [], b"[]"))
        assert (ready.look(spelt(b"/" + names)) is not None) == is_kept


def test_whole_head_is_found_again_only_after_it_was_parsed(ready):
    keep(ready, b"/a")
    assert ready.answer_repeated(b"head", SERVER) is None
    assert ready.answer_parsed(b"/a", [HOST], b"", SERVER) is not None
    assert ready.answer_repeated(b"", SERVER) is None, "a head in pieces is not remembered"
    assert ready.answer_parsed(b"/a", [HOST], b"head", SERVER) is not None
    assert ready.answer_repeated(b"head", SERVER) is not None


def test_head_is_found_again_with_another_request_id(ready):
    keep(ready, b"/a")
    start, end = b"GET /a HTTP/1.1\r\nHost: a", b"\r\nAccept: x\r\n\r\n"
    first = ready.answer_parsed(b"/a", [HOST, (b"x-request-id", b"1")], start + b"\r\nX-Request-ID: 1" + end, SERVER)
    assert first is not None

    for given in (b"\r\nX-Request-ID: 2", b"\r\nx-request-id:3", b""):
        head, body = ready.answer_repeated(start + given + end, SERVER)
        assert head.rpartition(b"x-request-id: ")[2] == (given[-1:] + b"\r\n\r\n" if given else head[-20:])
        assert body == b"[]"


@pytest.mark.parametrize(
    "bytes_between",
    [
        b"\r\nX-Request-ID: 2\r\nX-Request-ID: 3",
        b"\r\nX-Request-ID: 2\r\n continued",
        b"\r\nX-Request-ID: a b",
        b"\r\nX-Request-ID: " + b"a" * 65,
        b"\r\n\r\nX-Request-ID: 2",
        b"\nX-Request-ID: 2",
        b"\r\nX-Request-ID : 2",
    ],
)
def test_head_with_anything_but_one_plain_id_is_parsed_again(ready, bytes_between):
    keep(ready, b"/a")
    start, end = b"GET /a HTTP/1.1\r\nHost: a", b"\r\n\r\n"
    assert ready.answer_parsed(b"/a", [HOST], start + end, SERVER) is not None
    assert ready.answer_repeated(start + end, SERVER) is not None

    assert ready.answer_repeated(start + bytes_between + end, SERVER) is None
    assert ready.answer_repeated(start + end + b"X-Request-ID: 2\r\n", SERVER) is None
    assert ready.answer_repeated(start + end + b"X-Request-ID: 2" + end, SERVER) is None


def test_id_that_may_not_be_shown_is_not_kept_with_its_head(ready):
    keep(ready, b"/a")
    start, end = b"GET /a HTTP/1.1\r\nHost: a", b"\r\n\r\n"
    fields = [HOST, (b"x-request-id", b"token_abc")]
    assert ready.answer_parsed(b"/a", fields, start + b"\r\nX-Request-ID: token_abc" + end, SERVER) is not None

    head, _ = ready.answer_repeated(start + b"\r\nX-Request-ID: token_abc" + end, SERVER)
    assert b"token_abc" not in head


def test_another_version_of_the_data_ends_all_answers(ready, version):
    keep(ready, b"/a")
    assert ready.answer_parsed(b"/a", [HOST], b"head", SERVER) is not None
    version.number = 2

    assert ready.answer_parsed(b"/a", [HOST], b"", SERVER) is None
    assert ready.answer_repeated(b"head", SERVER) is None
    keep(ready, b"/a", version=1)
    assert ready.look(spelt(b"/a")) is None, "what was read before the change is late"
    keep(ready, b"/b", version=2)
    assert ready.look(spelt(b"/b")) is not None
    assert ready.look(spelt(b"/a")) is None


def test_memory_is_bounded_whatever_clients_write(ready):
    for number in range(2_500):
        keep(ready, b"/%d" % number)
        ready.answer_parsed(b"/%d" % number, [HOST], b"head %d" % number, SERVER)
        assert len(ready._by_spelling) <= 1_000
        assert len(ready._by_head) <= 1_000
    keep(ready, b"/" + b"a" * 3_000)
    assert ready.look(spelt(b"/" + b"a" * 3_000)) is None
    ready.answer_parsed(b"/2499", [HOST], b"h" * 3_000, SERVER)
    assert ready.answer_repeated(b"h" * 3_000, SERVER) is None


def test_response_that_is_dropped_is_not_kept_elsewhere(ready):
    store = ResponseStore(50_000, on_drop=ready.clear)
    for number in range(3):
        response = finish(1, [(b"content-type", b"application/json")], b"x" * 20_000)
        store.keep((f"/{number}", b""), response)
        keep(ready, b"/%d" % number)

    assert ready.look(spelt(b"/0")) is None
    assert ready.look(spelt(b"/2")) is not None


def test_answer_of_a_day_ends_at_midnight(ready, moment):
    keep(ready, b"/a", day=moment.now.date())
    keep(ready, b"/b")
    for path in (b"/a", b"/b"):
        assert ready.answer_parsed(path, [HOST], path, SERVER) is not None
    moment.now += timedelta(hours=12)

    found = [(ready.look(spelt(path)), ready.answer_repeated(path, SERVER)) for path in (b"/a", b"/b")]
    assert [(one is not None, other is not None) for one, other in found] == [(False, False), (True, True)]
