"""Every code block of the documentation is run, checked by the program it configures, or says why not."""

import asyncio
import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import yaml
from playwright.async_api import async_playwright

from app.core.config.settings import Settings
from tests.service.test_browser import CHROMIUM
from tests.support.markdown_blocks import ROOT, Block, blocks_of, pages
from tests.support.output import difference
from tests.support.service import ServedProcess
from tests.support.shell import Shell

KEY = "a key that is long enough for anybody"
ADDRESS = re.compile(r"(?:localhost|127\.0\.0\.1):8000")
"""The address of the service in the documentation."""
COPIED = ("app", "alembic", "alembic.ini", "scripts", ".env.example", "requirements.txt", "requirements-dev.txt")
COMPOSE_VARIABLES = {"COMPOSE_PROFILES"}
"""Names in env blocks that compose.yaml reads, and not the service."""
STORIES = {str(page.relative_to(ROOT)): page for page in pages() if any(block.is_run for block in blocks_of(page))}
CONFIGURATION = {str(block): block for page in pages() for block in blocks_of(page) if block.is_checked}


def test_every_block_is_run_or_checked_or_says_why_not():
    faults = [f"{block} {block.fault}" for page in pages() for block in blocks_of(page) if block.fault]

    assert faults == []


def test_tests_that_pages_name_exist():
    tests = {f"/{path.relative_to(ROOT)}" for folder in ("tests", "checks") for path in (ROOT / folder).rglob("*.py")}
    named = {(page.name, name) for page in pages() for name in re.findall(r"`([\w/]*test_\w+\.py)`", page.read_text())}
    missing = {(page, name) for page, name in named if not any(path.endswith(f"/{name}") for path in tests)}

    assert named
    assert missing == set()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("    indented\n", "has no language"),
        ("```text\nalone\n```\n", "is text behind nothing that runs, and has no marker"),
        ("<!-- not run: no time -->\n```sh\nmake\n```\n", "is not run for an unknown reason: no time"),
        ("<!-- run by tests/nowhere.py -->\n```sh\nmake\n```\n", "names a test that is not there: tests/nowhere.py"),
        ("<!-- not run: Docker -->\n```sh\ndocker ps\n```\n", None),
        ("- a list\n\n    ```sh\n    date\n    ```\n    ```text\n    ...\n    ```\n", None),
    ],
)
def test_block_without_language_or_marker_is_refused(text: str, fault: str | None, tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{text}")

    (block,) = blocks_of(page)
    assert block.fault == fault


@pytest.mark.parametrize(
    ("documented", "printed", "agree"),
    [
        ('{"id":1,"at":"2026-11-21T09:17:00Z"}', '{"id": 22, "at": "2027-01-01T00:00:00.5Z"}', True),
        ('{"id":1,"name":"Ghana"}', '{"id":"1","name":"Ghana"}', False),
        ('{"name":"Ghana"}', '{"name":"Ghana","code":null}', False),
        ('[{"rate":1.0}]', '[{"rate":1.5}]', False),
        ('{"a":1}\n{"a":2}', '{"a":1}\n{"a":3}', False),
        ("Took  0.1 s, 25 documents/s", "Took 12 s, 3,000 documents/s", True),
        ("from ... with 250", "from bundled with 250", True),
        ("250 countries", "249 countries", False),
    ],
)
def test_output_may_differ_only_in_what_changes_between_runs(documented: str, printed: str, agree: bool):
    assert (difference(documented, printed) is None) == agree


@pytest.mark.parametrize("name", CONFIGURATION)
def test_configuration_is_accepted_by_its_program(name: str, tmp_path: Path):
    block = CONFIGURATION[name]
    file = tmp_path / "snippet"
    file.write_text(block.content)

    match block.language:
        case "env":
            names = re.findall(r"^#?\s*(\w+)=", block.content, re.MULTILINE)
            assert {name.lower() for name in names if name not in COMPOSE_VARIABLES} <= Settings.model_fields.keys()
            Settings(_env_file=file)
        case "yaml":
            yaml.safe_load(block.content)
        case "ini" | "galera":
            configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True).read(file)
        case "haproxy" | "nginx":
            read_by_server(block.language, file)


def read_by_server(program: str, file: Path) -> None:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    if program == "nginx" and "http {" not in file.read_text():
        file.write_text("events {}\nhttp {\n" + file.read_text() + "}\n")
    check = ["-c", "-f", str(file)] if program == "haproxy" else ["-t", "-q", "-p", str(file.parent), "-c", str(file)]
    done = subprocess.run([found, *check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Story:
    """A page whose blocks run from top to bottom, in one shell and against one service."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.folder = folder
        self.blocks = [block for block in blocks_of(page) if block.is_run]
        code = "\n".join(block.content for block in self.blocks)
        self.missing = [name for name in ("curl", "sqlite3") if name in code and shutil.which(name) is None]
        if CHROMIUM is None and any(block.language == "javascript" for block in self.blocks):
            self.missing.append("Chromium")
        settings = {"country_sources": "bundled", "rate_sources": "bundled", "refresh_on_start": "if-empty"}
        if "$ADMIN_API_KEY" in code:
            settings["admin_api_key"] = KEY
        self.service = ServedProcess(folder, **settings)

    def prepare(self) -> None:
        """Make a folder like the repository, and a curl that fails if the service refuses a request."""
        for name in COPIED:
            (self.folder / name).symlink_to(ROOT / name)
        (self.folder / ".venv").symlink_to(sys.prefix)
        commands = self.folder / "commands"
        commands.mkdir()
        for name, program in {"curl": f"{shutil.which('curl')} --fail-with-body", "python": sys.executable}.items():
            (commands / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            (commands / name).chmod(0o755)
        path = f"{commands}:{os.environ['PATH']}"
        self.environment = {**self.service.environment, "PATH": path, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    async def run(self) -> list[str]:
        """Run all blocks; the differences from the page, with file and line."""
        shell = Shell(self.folder, self.environment)
        try:
            return [f"{block} {fault}" for block in self.blocks if (fault := await self._fault(shell, block))]
        finally:
            shell.close()

    async def _fault(self, shell: Shell, block: Block) -> str | None:
        code = ADDRESS.sub(f"127.0.0.1:{self.service.port}", block.content)
        if block.language == "javascript":
            printed, succeeded = await self._in_browser(code), True
        elif block.language == "python":
            (self.folder / "block.py").write_text(code)
            printed, succeeded = await asyncio.to_thread(shell.run, f"{shlex.quote(sys.executable)} block.py")
        else:
            printed, succeeded = await asyncio.to_thread(shell.run, code)
        if block.output is not None:
            return difference(block.output, printed)
        return None if succeeded else f"failed: {printed}"

    async def _in_browser(self, code: str) -> str:
        """Run code in a page of the service; what it writes to the console."""
        logged: list[str] = []
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = await browser.new_page()
            page.on("console", lambda message: logged.append(message.text) if message.type == "log" else None)
            await page.goto(f"{self.service.url}/health/live")
            await page.evaluate(f"async () => {{ {code} }}")
            await browser.close()
        return "\n".join(logged)


@pytest.fixture
async def story(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Story]:
    """A page, with a service whose fresh database has the bundled data."""
    story = Story(STORIES[request.param], tmp_path)
    if story.missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"not installed: {', '.join(story.missing)}")
    story.prepare()
    async with story.service, httpx.AsyncClient(base_url=story.service.url) as client, asyncio.timeout(60):
        while (await client.get("/status")).status_code != 200:  # it loads in the background
            await asyncio.sleep(0.1)
        yield story


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("story", STORIES, indirect=True)
async def test_page_prints_what_it_shows(story: Story):
    assert "\n".join(await story.run()) == ""
