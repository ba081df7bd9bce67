"""Log lines have one format, cannot be forged, and contain no secrets."""

import asyncio
import io
import json
import logging
import re
from functools import cache
from typing import Any, ClassVar

import httpx
import pytest
from fastapi import FastAPI
from loguru import logger

from app.core.http.access import Rule, access
from app.core.telemetry.log import configure_logging
from app.main import create_app
from app.users.credentials import new_secret
from tests.conftest import make_settings, take_routes

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"


class Log:
    """Configures logging like the service, and captures the lines."""

    def __init__(self, **settings: Any) -> None:
        self.stream = io.StringIO()
        self.settings = make_settings(**{"log_level": "DEBUG", "log_requests": "all", **settings})
        configure_logging(self.settings, self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    @property
    def messages(self) -> list[str]:
        """Messages of console lines."""
        return [line.split(" | ", 3)[-1] for line in self.lines]


@cache
def with_a_broken_route() -> FastAPI:
    app = create_app(make_settings())

    @app.get("/broken/{name}", tags=["service"], openapi_extra=access(Rule.EVERYONE))
    async def fail(name: str) -> None:
        raise RuntimeError(f"no {name}")

    return app


async def get(log: Log, paths: str, headers: Any = None) -> list[httpx.Response]:
    """Get paths of an application that logs to ``log``, but is not started, so that it has no database."""
    broken = with_a_broken_route()  # first, because it configures logging too
    lines = configure_logging(log.settings, log.stream)
    app = create_app(log.settings, lines=lines)
    take_routes(app, broken)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answers = [await client.get(path, headers=headers) for path in paths.split()]
    lines.flush()
    return answers


async def test_each_request_is_one_line_with_id_status_and_seconds():
    log = Log()

    answers = await get(log, "/health/live /nowhere")

    for line, answer, outcome in zip(log.lines, answers, ("/health/live -> 200", "/nowhere -> 404"), strict=True):
        request_id = answer.headers["X-Request-ID"]
        assert re.fullmatch(rf"{STAMP} \| INFO    \| {request_id} \| GET {outcome} \[\d+\.\d{{4}}s\]", line)


async def test_request_line_has_the_path_as_sent_truncated_and_without_the_query():
    log = Log()

    await get(log, f"/health/live/?api_key=hush /{'x' * 5000}")

    assert log.messages[0].startswith("GET /health/live/ -> 400 [")
    assert log.messages[1].startswith(f"GET /{'x' * 499}... -> 404 [")
    assert "hush" not in log.text


@pytest.mark.parametrize("kind", ["token", "key"])
async def test_tokens_and_keys_of_clients_are_hidden_wherever_they_appear(kind):
    log, secret = Log(), new_secret(kind)

    paths = f"/{secret} /countries/x{secret}/history?q={secret} /broken/{secret}"
    answers = await get(log, paths, {"X-Request-ID": secret})

    assert secret not in log.text
    assert log.text.count("GET /******** -> 404") == 1
    assert {answer.headers["X-Request-ID"] == secret for answer in answers} == {False}


@pytest.mark.parametrize("setting", [("log_requests", "errors"), ("log_requests", "off"), ("log_level", "WARNING")])
async def test_settings_limit_which_requests_are_logged(setting):
    log = Log(**dict([setting]))

    await get(log, "/health/live /nowhere")

    logged = [message.partition(" [")[0] for message in log.messages]
    assert logged == (["GET /nowhere -> 404"] if "errors" in setting else [])


async def test_json_is_one_object_per_line():
    log = Log(log_format="json")

    await get(log, "/health/live /nowhere", {"X-Request-ID": "r-1"})

    first, second = (json.loads(line) for line in log.lines)
    assert (first["level"], first["request_id"]) == ("INFO", "r-1")
    assert first["logger"] == "app.core.http.middleware.request_log"
    assert first.keys() == second.keys() == {"time", "level", "logger", "message", "request_id"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+[+-]\d\d:\d\d", first["time"])
    assert re.fullmatch(r"GET /nowhere -> 404 \[\d+\.\d{4}s\]", second["message"])


async def test_gathered_request_lines_stay_in_order(monkeypatch):
    delay, log = "app.core.http.request_notes._FLUSH_SECONDS", Log(log_level="INFO")
    monkeypatch.setattr(delay, 3600)
    lines = configure_logging(log.settings, log.stream)
    app = create_app(log.settings, lines=lines)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        for number in range(20):
            await client.get(f"/{number}/{'x' * 400}")
        assert log.text == ""
        logger.warning("in between")
        monkeypatch.setattr(delay, 0)
        await client.get("/last")
        assert log.messages[-1] == "in between"
        while not log.messages[-1].startswith("GET /last"):
            await asyncio.sleep(0)

    assert [message.split("/")[1] for message in log.messages[:20]] == [str(number) for number in range(20)]


def test_lines_are_written_in_pieces_that_a_pipe_keeps_together():
    class Pipe(io.StringIO):
        sizes: ClassVar[list[int]] = []

        def write(self, text: str) -> int:
            self.sizes.append(len(text.encode()))
            return super().write(text)

    pipe, log = Pipe(), Log()
    lines = configure_logging(log.settings, pipe)
    for number in range(300):
        lines.gather(f"{number} {'é' * number}")
    lines.flush()

    assert [line.split(" ")[0] for line in pipe.getvalue().splitlines()] == [str(number) for number in range(300)]
    assert 1 < len(pipe.sizes) < 60
    assert max(pipe.sizes) <= 4096


def test_logging_while_lines_are_written_does_not_deadlock():
    class Talkative(io.StringIO):
        def write(self, text: str) -> int:
            if "first" in text:
                logger.warning("second")
            return super().write(text)

    stream = Talkative()
    lines = configure_logging(Log().settings, stream)
    lines.gather("first")
    lines.flush()

    assert [line.split(" | ")[-1] for line in stream.getvalue().splitlines()] == ["second", "first"]


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_secret_in_a_path_is_hidden(log_format):
    log = Log(log_format=log_format, admin_api_key="hunter2hunter2")

    await get(log, "/countries/hunter2hunter2", {"X-Request-ID": "hunter2hunter2"})

    assert "hunter2" not in log.text
    assert "/countries/********" in log.text


INVALID_IDS = [b"a\nb", b"a\r\nSet-Cookie: x", b"a" * 65, b"<b>x</b>", b"{x}", b"a b", b"\xc3\xa9", b"", b"\x1b[1m"]


async def test_request_id_is_kept_if_valid_or_else_replaced():
    for valid in ("abc-123_x.Y", "a" * 64):
        assert (await get(Log(), "/nowhere", {"X-Request-ID": valid}))[0].headers["X-Request-ID"] == valid
    log = Log()

    seen = [(await get(log, "/nowhere", {b"X-Request-ID": sent}))[0].headers["X-Request-ID"] for sent in INVALID_IDS]

    assert len(set(seen)) == len(INVALID_IDS)
    assert all(re.fullmatch(r"[0-9a-f]{16}", request_id) for request_id in seen)
    assert [line.split(" | ")[2] for line in log.lines] == seen


FORGERIES = {
    "%0A2026-01-01%2000:00:00.000%20|%20INFO%20|%20-%20|%20x": r"\n2026-01-01 00:00:00.000 | INFO | - | x",
    "%0D%0Aforged": r"\r\nforged",
    "%1B[2K%1B[1;31mred": r"\x1b[2K\x1b[1;31mred",
    "%C2%9B31mred": r"\x9b31mred",
    "%E2%80%A8forged": r"\u2028forged",
    "%C2%85forged": r"\x85forged",
    "%00": r"\x00",
    "<red>red</red>": "<red>red</red>",
    "{0}{status}{": "{0}{status}{",
    "%25s%25d": "%s%d",
}


@pytest.mark.parametrize("path", FORGERIES)
async def test_path_cannot_forge_a_line(path):
    console, structured = Log(), Log(log_format="json")

    await get(console, f"/x/{path}")
    await get(structured, f"/x/{path}")

    assert len(console.lines) == len(structured.lines) == 1
    assert console.messages[0].startswith(f"GET /x/{FORGERIES[path]} -> 404 [")
    assert json.loads(structured.text)["message"].startswith("GET /x/")
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", console.text + structured.text)


async def test_exception_is_indented_on_the_console_and_one_line_in_json():
    console, structured = Log(log_requests="off"), Log(log_requests="off", log_format="json")
    forged = "a%0A2026-01-01%2000:00:00.000%20|%20INFO%20|%20-%20|%20forged"

    await get(console, f"/broken/{forged}")
    await get(structured, f"/broken/{forged}")

    first, *trace = console.lines
    assert first.endswith(r"GET /broken/a\n2026-01-01 00:00:00.000 | INFO | - | forged failed")
    assert trace[0] == "    | Traceback (most recent call last):"
    assert all(line.startswith("    | ") for line in trace)
    (line,) = structured.lines
    assert "RuntimeError: no a\n2026-01-01" in json.loads(line)["exception"]


ADMIN, UPSTREAM, PASSWORD = 'adm"in\\key', "upstream-key", "p@ss/w:ö rd+%"
IN_URLS = {
    "percent": "p%40ss%2Fw%3A%C3%B6%20rd%2B%25",
    "lower case": "p%40ss%2fw%3a%c3%b6%20rd%2b%25",
    "plus": "p%40ss%2Fw%3A%C3%B6+rd%2B%25",
    "as little as possible": "p%40ss%2Fw%3A%C3%B6 rd+%25",
    "as the setting has it": "p%40ss/w%3aö%20rd%2B%25",
}


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("spelling", IN_URLS)
def test_secrets_are_hidden_in_every_encoding(log_format, spelling):
    url = f"mysql://user:{IN_URLS[spelling]}@host/db"
    keys = {"admin_api_key": ADMIN, "restcountries_api_key": UPSTREAM}
    setting = f"mysql://user:{IN_URLS['as the setting has it']}@host/db"
    log = Log(log_format=log_format, database_url=setting, **keys)
    secrets = [ADMIN, UPSTREAM, PASSWORD, url]

    logger.info("{} {} {} {}", *secrets)
    logging.getLogger("sqlalchemy.engine").error("%r %s", secrets, json.dumps(secrets))
    try:
        int(ADMIN)
    except ValueError:
        logging.getLogger("uvicorn.error").exception(ADMIN.encode())
    try:
        raise LookupError(secrets)
    except LookupError:
        logger.exception("failed")

    text = log.text if log_format == "console" else "".join(str(json.loads(line)) for line in log.lines)
    assert not re.findall(r"adm|in\\|upstream|p@|p%40|%2[bB]|rd\+", text)
    assert text.count("mysql://user:********@host/db") == 4


def test_lines_of_libraries_have_the_same_format_and_level():
    log, names = Log(log_level="WARNING"), ["uvicorn.error", "sqlalchemy.pool", "alembic.runtime.migration", "anything"]

    for name in names:
        logging.getLogger(name).warning("%s says %d {x} <b>\n", name, 1)
    logging.getLogger("uvicorn.error").info("hidden")
    logger.info("hidden")

    assert log.messages == [rf"{name} says 1 {{x}} <b>\n" for name in names]
    assert all(re.match(rf"{STAMP} \| WARNING \| - \| ", line) for line in log.lines)
    log = Log(log_format="json")
    logging.getLogger("uvicorn.error").error("broken", exc_info=ValueError("odd"))

    line = json.loads(log.text)
    assert (line["level"], line["message"]) == ("ERROR", "broken")
    assert line["exception"].endswith("ValueError: odd\n")


def test_migrations_log_their_steps_only():
    log = Log()

    for line in ("Context impl SQLiteImpl.", "Will assume transactional DDL.", "Running upgrade  -> 0018, All tables."):
        logging.getLogger("alembic.runtime.migration").info(line)

    assert log.messages == ["Running upgrade  -> 0018, All tables."]


def test_http_clients_and_uvicorn_do_not_log_urls():
    log = Log()

    logging.getLogger("httpx").info("HTTP Request: GET https://api.example/?key=hush")
    logging.getLogger("httpcore.http11").debug("send_request_headers")
    logging.getLogger("uvicorn.access").info('"GET / HTTP/1.1" 200')

    assert log.text == ""


def test_terminals_get_colour_but_no_foreign_escapes():
    terminal, log = io.StringIO(), Log()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    configure_logging(log.settings, terminal)

    logger.warning("careful \x1b[2K")

    assert "\x1b[33mWARNING" in terminal.getvalue()
    assert terminal.getvalue().endswith("careful \\x1b[2K\n")
