"""Evaluation of measurements by benchmarks and checks; nothing here is timed."""

import gzip
import json
import random
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import pytest

from benchmarks.base.answers import Answer, decoded_body, read_messages, write_answers
from benchmarks.base.comparison import Measured as Compared
from benchmarks.base.comparison import to_table
from benchmarks.base.document import replace_section
from benchmarks.base.in_process import ask
from benchmarks.base.load import LoadFailed, parse_wrk
from benchmarks.base.spread import ratios, spread
from benchmarks.base.synthetic import synthetic_countries
from benchmarks.base.tables import Report, Table, to_markdown
from benchmarks.process.memory import read_load, slope
from benchmarks.rates import check as rates_check
from benchmarks.rates import imports as rates_import
from benchmarks.rates import year as rates_year
from benchmarks.rates.rows import CODES, ROWS, SOURCES, codes_of, years
from benchmarks.refresh import refresh, waits
from benchmarks.refresh.growth import judge
from benchmarks.refresh.parts import PARTS
from benchmarks.refresh.waits import Wait
from benchmarks.tracking import tracking
from benchmarks.tracking.rows import as_json, batches
from benchmarks.tracking.tracking import Measured
from checks.consistency.ledger import BASE_POPULATION, Ledger, Read, Refreshed
from checks.pool.load import Request, Tally

WRK_SAYS = """Running 3s test @ http://127.0.0.1:8000/countries
  1 threads and 16 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.22ms  310.45us   9.71ms   91.05%
    Req/Sec    13.17k     1.02k   14.92k    80.00%
  39312 requests in 3.00s, 2.41GB read
Requests/sec:  13101.55
Transfer/sec:    823.00MB
"""


def test_wrk_requests_per_second_are_read():
    assert parse_wrk(WRK_SAYS) == 13101.55


@pytest.mark.parametrize(
    "line",
    ["  Socket errors: connect 0, read 0, write 0, timeout 3", "  Non-2xx or 3xx responses: 39312"],
)
def test_wrk_errors_are_not_a_measurement(line):
    with pytest.raises(LoadFailed, match=line.strip()):
        parse_wrk(WRK_SAYS.replace("Requests/sec", f"{line}\nRequests/sec"))


def test_wrk_without_requests_is_not_a_measurement():
    with pytest.raises(LoadFailed, match="no requests"):
        parse_wrk(WRK_SAYS.replace("13101.55", "0.00"))


def test_ratios_are_taken_round_by_round():
    assert ratios([50, 90, 30], [100, 100, 40]) == spread([0.5, 0.9, 0.75])
    assert ratios([50, 90, 30], [100, 100, 40]).text() == "0.75 (0.50 - 0.90)"


def test_small_ratios_keep_their_digits():
    assert spread([0.011, 0.012, 0.019]).text() == "0.012 (0.011 - 0.019)"


def test_report_becomes_markdown():
    report = Report([Table("Reads", ("request", "a | b"), [("list", "1.00")])], ["a note"], ["a promise"])

    assert to_markdown(report) == (
        "Reads\n\n| request | a \\| b |\n| --- | ---: |\n| list | 1.00 |\n\n- a note\n- **Broken:** a promise"
    )


def test_section_replaces_only_its_own_text():
    page = "x\n<!-- reads -->old<!-- /reads -->\n<!-- misses -->kept<!-- /misses -->\ny"

    assert replace_section(page, "reads", r"new \1") == (
        "x\n<!-- reads -->\n\nnew \\1\n\n<!-- /reads -->\n<!-- misses -->kept<!-- /misses -->\ny"
    )
    with pytest.raises(ValueError, match="marks of growth"):
        replace_section(page, "growth", "new")


def test_bare_function_sends_the_captured_bytes(tmp_path):
    gzipped = Answer(200, ((b"content-type", b"application/json"),), b"\x1f\x8b\x00")
    write_answers(tmp_path / "answers", {"/2/countries?sort=gdp_desc": gzipped})

    start, body = read_messages(tmp_path / "answers")[b"/2/countries", b"sort=gdp_desc"]

    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]}
    assert body == {"type": "http.response.body", "body": b"\x1f\x8b\x00"}


def test_responses_are_compared_without_their_coding():
    headers = ((b"content-encoding", b"gzip"),)

    assert decoded_body(Answer(200, headers, gzip.compress(b"[]"))) == decoded_body(Answer(200, (), b"[]")) == b"[]"


def test_synthetic_countries_have_unique_names_and_codes():
    countries = synthetic_countries(600)

    assert len({country["name"]["common"] for country in countries}) == 600
    assert [country["cca2"] for country in countries if "cca2" in country] == [c["cca2"] for c in countries[:250]]


def test_growth_is_judged_for_each_step():
    lines = judge({250: [100.0] * 5, 2_500: [900.0] * 5, 25_000: [9_000.0, 9_900.0, 9_901.0, 9_000.0, 9_000.0]})

    assert lines[0] == "first refresh: x 9.0, then x 10.0 for each x 10; no worse than linear"
    assert lines[1] == "later refresh: x 9.0, then x 11.0 for each x 10; no worse than linear"
    assert lines[2] == "first page: x 9.0, then x 11.0 for each x 10; WORSE than linear"


def test_timed_parts_of_a_refresh_exist():
    assert [name for owner, name, _ in PARTS if not hasattr(owner, name)] == []


def test_versions_are_compared_round_by_round():
    rows: Compared = {"list": {"a29cec9": [2.0, 4.0], "now": [1.0, 3.0]}, "slope": {"a29cec9": [-1.0], "now": [1.0]}}

    table = to_table("Reads", rows)

    assert table.columns == ("measured", "a29cec9", "now", "now / a29cec9")
    assert table.rows[0] == ("list", "3.00 (2.00 - 4.00)", "2.00 (1.00 - 3.00)", "0.62 (0.50 - 0.75)")
    assert table.rows[1][-1] == "-"
    assert to_table("Reads", {"list": {"now": [1.0]}}).columns == ("measured", "now")


async def test_answers_in_process_are_timed_only_if_they_are_successes():
    async def refuse(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 503, "headers": []})
        await send({"type": "http.response.body", "body": b"busy"})

    with pytest.raises(RuntimeError, match="POST /countries/refresh: 503 b'busy'"):
        await ask(refuse, {}, "/countries/refresh", method="POST")


def test_parts_of_a_refresh_must_add_up_to_the_whole():
    assert refresh.problems("sqlite", {"read": [0.92, 0.91], refresh.REST: [0.08, 0.09]}) == []
    assert refresh.problems("sqlite", {"read": [0.8, 0.8], refresh.REST: [0.2, 0.2]}) == [
        "sqlite: the parts of a refresh add up to 80% of the whole"
    ]
    assert refresh.problems("sqlite", {"read": [1.2, 1.2], refresh.REST: [-0.2, -0.2]}) == [
        "sqlite: the parts of a refresh add up to 120% of the whole"
    ]


def test_waits_belong_to_the_moment_in_which_they_began():
    moments = [(waits.REFRESH, 10.0), (waits.AFTER, 11.0)]
    sent = [Wait(waits.DATA, 10.9, 700.0), Wait(waits.DATA, 11.1, 5.0), Wait(waits.LIVENESS, 11.0, 2.0)]

    longest = waits.longest_waits(sent, moments)

    assert longest[waits.REFRESH, waits.DATA] == 700
    assert longest[waits.AFTER, waits.DATA] == 5
    assert longest[waits.AFTER, waits.LIVENESS] == 2


def test_only_waits_for_changed_data_are_judged():
    during, after = f"sqlite, {waits.REFRESH}: {waits.DATA}", f"sqlite, {waits.AFTER}: {waits.DATA}"

    assert waits.problems({during: {"now": [600.0]}, after: {"a29cec9": [900.0], "now": [100.0]}}) == []
    assert waits.problems({after: {"now": [90.0, 101.0, 110.0]}}) == [f"{after}: waited 101 ms, not 100"]


def test_growth_of_memory_is_per_ten_minutes():
    assert slope([(0, 100.0), (60, 101.0), (120, 102.0)]) == pytest.approx(10)


def test_memory_load_may_be_refused_but_not_fail():
    refused = WRK_SAYS.replace("Requests/sec", "  Non-2xx or 3xx responses: 12\nRequests/sec")

    assert read_load(WRK_SAYS) == "13,102 answers per second, 0 in all were 503"
    assert read_load(refused) == "13,102 answers per second, 12 in all were 503"
    with pytest.raises(LoadFailed, match="Unexpected status 500"):
        read_load(f"Unexpected status 500\n{refused}")


def ledger() -> Ledger:
    """Generation 1 by process 0, answered at 10 s; generation 2 by process 1, answered at 20 s."""
    return Ledger(revalidate_seconds=1, refreshes=[Refreshed(1, 0, 10.0), Refreshed(2, 1, 20.0)])


def read(generation: int, process: int, begun: float, *, status: int = 200, etag: str | None = None) -> Read:
    country = f'{{"population":{BASE_POPULATION + generation},"last_refreshed_at":"at {generation}"}}'
    return Read(process, begun, status, f"[{country},{country}]".encode() if status == 200 else b"", etag)


@pytest.mark.parametrize(
    ("answer", "problems"),
    [
        (read(2, 1, 20.1), []),
        (read(1, 1, 19.9), []),
        (read(1, 1, 20.1), ["1 x too old, same process"]),
        (read(1, 0, 20.9), []),
        (read(1, 0, 21.1), ["1 x too old, other process"]),
        (read(2, 0, 21.1), []),
        (Read(0, 30, 503, b"", None), ["1 x error"]),
        (Read(0, 30, 304, b"", '"unknown"'), ["1 x wrong 304"]),
    ],
)
def test_reads_are_checked_against_the_promise_of_their_process(answer, problems):
    book = ledger()
    book.judge(answer)

    assert book.problems() == problems


def test_two_generations_in_one_answer_are_mixed():
    book = ledger()
    first, second = read(1, 0, 15), read(2, 0, 15)
    book.judge(Read(0, 15, 200, first.body + second.body, None))

    assert book.problems() == ["1 x mixed"]


def test_not_modified_is_wrong_once_the_tag_is_too_old():
    book = ledger()
    book.judge(read(1, 1, 15, etag='"a"'))
    book.judge(read(1, 1, 16, status=304, etag='"a"'))
    assert book.problems() == []

    book.judge(read(1, 1, 20.1, status=304, etag='"a"'))
    assert book.problems() == ["1 x wrong 304"]


@pytest.mark.parametrize(
    ("answer", "problems"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", {}),
        (b"HTTP/1.1 404 Not Found\r\n\r\n{}", {}),
        (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\n\r\n{}", {}),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nretry-after: 2", {"GET /status -> 503": 1}),
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n{}", {"GET /status -> 500": 1}),
        (b"", {"GET /status -> no answer": 1}),
    ],
)
def test_responses_under_load_are_successes_or_have_retry_after(answer, problems):
    tally = Tally()
    tally.judge(Request("GET", "/status"), answer)

    assert tally.problems == problems


def test_documents_are_the_same_in_batches_of_every_size():
    whole = [row for batch in batches(12) for row in batch]

    assert [len(batch) for batch in batches(12, 5)] == [5, 5, 2]
    assert [row for batch in batches(12, 5) for row in batch] == whole == sorted(whole)
    assert json.loads(as_json(whole[1])) == {
        "SMScount": 2,
        "uniqueId": "M000000001",
        "data": {"to": "+233200000001", "text": "Dear customer 1, your parcel is waiting for you in Accra"},
    }


def test_tracking_is_judged_by_the_better_way():
    speeds = {"one each": [100.0], "client": [1_000.0], "stream": [2_000.0], "bare": [6_000.0]}

    assert tracking.problems("sqlite", Measured(speeds)) == []
    assert tracking.problems("mariadb", Measured(speeds, {"stream": [{"service": 12.0, "client": 60.0}]})) == [
        "mariadb: 0.33 of the bare driver, not 0.5",
        "mariadb: stream: memory of the client grew by 60 MiB",
    ]


def test_synthetic_currencies_belong_to_one_source_each():
    codes = [code for source in SOURCES for code in codes_of(source)]

    assert len(set(codes)) == len(codes) == len(SOURCES) * CODES
    assert ROWS == 10_000_000


def test_years_of_pairs_are_of_one_source_and_differ():
    paths = list(islice(years(random.Random(6)), 1000))

    assert len(set(paths)) == 1000
    for path in paths:
        asked = parse_qs(urlsplit(path).query)
        pair = {asked["base"][0], asked["symbols"][0]}
        assert len(pair) == 2
        assert any(pair <= set(codes_of(source)) for source in SOURCES)


def test_year_of_a_pair_is_judged_by_its_time_beyond_the_bare_response():
    assert rates_year.problems("sqlite", {"bare": [0.4, 0.5], "framework": [1.0, 1.0], "year": [10.3, 10.4]}) == []
    assert rates_year.problems("sqlite", {"bare": [0.4, 0.5], "framework": [1.0, 1.0], "year": [12.4, 12.5]}) == [
        "sqlite: a year of a pair takes 12.0 ms beyond a bare answer, not 10"
    ]


def test_import_of_rates_is_judged_by_the_bare_driver_and_its_memory():
    assert rates_import.problems("mariadb", rates_import.Measured([60.0], [100.0], [1.0], [0.1])) == []
    assert rates_import.problems("mariadb", rates_import.Measured([30.0], [100.0], [20.0], [0.1])) == [
        "mariadb: import at 0.30 of the bare driver, not 0.35",
        "mariadb: memory of the import grew by 20 MiB",
    ]


def test_conversions_are_judged_by_their_largest_errors():
    assert rates_check.problems("sqlite", rates_check.Found(1e-9, 1e-12, 0)) == []
    assert rates_check.problems("sqlite", rates_check.Found(1e-8, 1e-11, 2)) == [
        "sqlite: 1.0e-08 from CurrencyConverter, not 1e-09",
        "sqlite: a triangle ends 1.0e-11 from its start, not 1e-12",
        "sqlite: a currency is not worth itself, 2 times",
    ]
