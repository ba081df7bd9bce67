"""The documentation as a website: it builds without warnings, works in Chromium, and loads nothing from other hosts."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from playwright.async_api import Page, async_playwright

from tests.service.test_browser import CHROMIUM, Visit
from tests.support.markdown_blocks import ROOT

pytestmark = pytest.mark.slow

LOADED = re.compile(r'<(?:script|img|iframe|source)[^>]*? src="?([^"\s>]+)|<link [^>]*?href="?([^"\s>]+)')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture
def url(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_pages_load_nothing_from_other_hosts(site: Path):
    loaded = {
        (page.name, address)
        for page in site.rglob("*.html")
        for found in LOADED.findall(page.read_text())
        for address in found
        if re.match(r"(https?:)?//", address)
    }

    assert loaded == set()


def test_site_has_every_page_of_the_repository(site: Path):
    pages = {page.relative_to(site).with_suffix("").as_posix() for page in site.rglob("*.html")}

    wanted = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert {name.replace("README", "index") for name in wanted} | {"changelog", "contributing", "security"} <= pages


def test_lists_and_tables_are_the_same_on_github(site: Path):
    """Markdown parsers differ in what belongs to a list."""

    def parts(html: str) -> dict[str, int]:
        return {tag: len(re.findall(f"<{tag}[ >]", html)) for tag in ("ul", "ol", "li", "table", "tr", "pre")}

    markdown = MarkdownIt().enable("table")
    differing = [
        page.name
        for page in (ROOT / "docs").rglob("*.md")
        if parts(markdown.render(page.read_text())) != parts(article(site, page))
    ]
    assert differing == []


def article(site: Path, page: Path) -> str:
    name = page.relative_to(ROOT / "docs").as_posix().replace("README", "index").replace(".md", ".html")
    return (site / name).read_text().partition("<article")[2].partition("</article")[0]


@pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="Chromium is not installed")
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)], ids=["desktop", "phone"])
async def test_search_finds_a_page_without_requests_to_other_hosts(url: str, width: int, height: int):
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page(viewport={"width": width, "height": height})
        visit = Visit(page, url)
        await page.goto(f"{url}/index.html")
        assert await found_first(page, "estimated GDP is not a statistic", narrow=width < height)
        for name in ("getting-started", "guide", "data", "architecture", "decisions/0001-lease-row", "changelog"):
            await page.goto(f"{url}/{name}.html")
            wide = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{name} is {wide} pixels wider than the window"
        await browser.close()

    assert visit.problems == []


async def found_first(page: Page, words: str, *, narrow: bool) -> str:
    """Search as a reader does; the title of the first result."""
    if narrow:
        await page.locator("label[for=__search]").first.click()
    field = page.get_by_role("textbox", name="Search")
    await field.click()
    await field.press_sequentially(words)
    title = page.locator(".md-search-result__item h1, .md-search-result__item h2").first
    await title.wait_for()
    return await title.inner_text()
