"""The pages as people meet them, in a real Chromium, before the service as a process of its own.

Some run by default, the rest with -m slow. Where there is no Chromium the run says so in one line, and under CI=true
that is an error.
"""

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright

from tests.conftest import COUNTRIES, RATES, usual_answers
from tests.support.service import ServiceProcess
from tests.support.upstream import FakeUpstream

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LOOK = Path(__file__).resolve().parents[1] / "support" / "look.js"
FOCUSED = "(document.activeElement.innerText || document.activeElement.id || document.activeElement.name).trim()"
KEY = "a key that is long enough for anybody"

pytestmark = [
    pytest.mark.engines("sqlite"),
    pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="Chromium is not installed"),
]


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    assert CHROMIUM is not None, "Chromium is needed in CI"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


class Visit:
    """A page, and everything about it that should not be."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.problems: list[str] = []
        page.set_default_timeout(15_000)
        page.on("console", self._note_said)
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on("request", self._note_asked)

    def _note_said(self, said: ConsoleMessage) -> None:
        if said.type == "error":
            self._note(said.text)

    def _note_asked(self, asked: Request) -> None:
        if not asked.url.startswith((self.url, "data:", "blob:")):
            self._note(asked.url)

    def _note(self, problem: str) -> None:
        self.problems.append(problem)


@pytest.fixture(scope="module")
async def open_service(_upstream: FakeUpstream, sqlite_template: Path, tmp_path_factory: Any) -> AsyncIterator[str]:
    async with _service(_upstream, sqlite_template, tmp_path_factory.mktemp("open")) as started:
        yield started.url


@pytest.fixture(scope="module")
async def closed_service(_upstream: FakeUpstream, sqlite_template: Path, tmp_path_factory: Any) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("closed")
    async with _service(_upstream, sqlite_template, folder, admin_api_key=KEY) as started:
        yield started.url


def _service(upstream: FakeUpstream, template: Path, folder: Path, **settings: object) -> ServiceProcess:
    upstream.answers |= usual_answers()
    database = shutil.copy(template, folder / "countries.db")
    sources = {"country_sources": upstream.url(COUNTRIES), "rate_sources": upstream.url(RATES)}
    return ServiceProcess(folder, database_url=f"sqlite:///{database}", **sources, **settings)


@pytest.fixture
async def visit(browser: Browser, open_service: str, upstream: FakeUpstream) -> AsyncIterator[Visit]:
    page = await browser.new_page()
    visit = Visit(page, open_service)
    yield visit
    assert visit.problems == []
    await page.close()


async def test_refresh_runs_from_the_docs(visit: Visit):
    await visit.page.goto(f"{visit.url}/docs#/countries/refresh_countries")
    operation = visit.page.locator("#operations-countries-refresh_countries")
    await operation.get_by_role("button", name="Execute").click()

    answer = operation.locator(".live-responses-table .response").first
    await answer.wait_for()
    text = await answer.inner_text()
    assert text.startswith("200")
    assert '"total_countries": 250' in text
    await visit.page.goto(f"{visit.url}/docs#/countries/get_country")
    one = visit.page.locator("#operations-countries-get_country")
    if not await one.get_by_role("button", name="Execute").is_visible():
        await one.locator(".opblock-summary-control").click()
    await one.get_by_role("button", name="Execute").click()
    found = one.locator(".live-responses-table .response").first
    await found.wait_for()
    assert '"name": "Ghana"' in await found.inner_text()


@pytest.mark.slow
async def test_authorize_of_the_docs_opens_what_is_closed(
    browser: Browser, closed_service: str, upstream: FakeUpstream
):
    visit = Visit(page := await browser.new_page(), closed_service)
    await page.goto(f"{closed_service}/docs#/countries/refresh_countries")
    await page.get_by_role("button", name="Authorize").first.click()
    await page.get_by_role("textbox", name="Value:").fill(KEY)
    await page.locator(".auth-container", has_text="ApiKey").get_by_role("button", name="Apply credentials").click()
    await page.get_by_role("button", name="Close").first.click()
    operation = page.locator("#operations-countries-refresh_countries")
    await operation.get_by_role("button", name="Execute").click()

    answer = operation.locator(".live-responses-table .response").first
    await answer.wait_for()
    assert (await answer.inner_text()).startswith("200")
    assert visit.problems == []
    await page.close()


@pytest.mark.slow
async def test_reference_shows_every_part(visit: Visit):
    await visit.page.goto(f"{visit.url}/redoc")

    await visit.page.get_by_role("heading", name="Refresh countries and rates").wait_for()
    menu = await visit.page.get_by_role("menuitem").all_inner_texts()
    assert {"countries", "rates", "tracking", "sign-in", "users", "audit", "service"} <= set(menu)


async def refreshed(visit: Visit) -> Page:
    await visit.page.request.post(f"{visit.url}/countries/refresh")
    await visit.page.goto(visit.url)
    return visit.page


async def first_names(page: Page) -> list[str]:
    rows = page.locator("#table tbody tr:not([hidden]) th")
    return [name.split(" ", 1)[1] for name in (await rows.all_inner_texts())[:3]]


async def test_first_minute_refresh_filter_sort_and_download(visit: Visit, upstream: FakeUpstream):
    page = visit.page
    await page.goto(visit.url)
    before = upstream.hits[COUNTRIES]
    async with page.expect_navigation():
        await page.get_by_role("button", name="Refresh now").click()
    assert upstream.hits[COUNTRIES] == before + 1

    listed = await page.request.get(f"{visit.url}/countries?region=Africa&currency=XOF")
    africa_in_xof = len(await listed.json())
    await page.get_by_label("Region", exact=True).select_option("Africa")
    await page.get_by_label("Name", exact=True).fill("COTE  D'ivoire")
    await page.get_by_label("Currency", exact=True).select_option("XOF")
    assert await page.locator("#found").inner_text() == "1 country"
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Download as CSV").click()
    lines = (await (await started.value).path()).read_text("utf-8-sig").splitlines()
    assert len(lines) == 2
    assert "Ivoire" in lines[1]

    await page.get_by_label("Name", exact=True).fill("")
    assert await page.locator("#found").inner_text() == f"{africa_in_xof} countries"
    await page.get_by_label("Currency", exact=True).select_option("")
    await page.get_by_role("button", name="Population").click()
    listed = await page.request.get(f"{visit.url}/countries?region=Africa&sort=population_desc&fields=name&limit=3")
    assert await first_names(page) == [country["name"] for country in await listed.json()]


@pytest.mark.slow
async def test_conversion_shows_the_amount_the_rate_and_its_day(visit: Visit):
    page = await refreshed(visit)
    await page.get_by_label("Amount").fill("250")
    await page.get_by_label("To", exact=True).select_option("NGN")
    await page.get_by_role("button", name="Convert").click()

    answer = await (await page.request.get(f"{visit.url}/convert?from=USD&to=NGN&amount=250")).json()
    await page.locator("#converted:not(:empty)").wait_for()
    shown = await page.locator("#converted").inner_text()
    assert shown.startswith(f"250 USD = {answer['rounded']:,.2f}".rstrip("0").rstrip("."))
    assert answer["date"] in shown


@pytest.mark.slow
async def test_refresh_asks_for_the_key_that_it_needs(browser: Browser, closed_service: str, upstream: FakeUpstream):
    page = await browser.new_page()
    await page.goto(closed_service)
    await page.get_by_role("button", name="Refresh now").click()
    await page.get_by_label("Key", exact=True).fill("wrong")
    await page.get_by_role("dialog").get_by_role("button", name="Refresh").click()
    await page.locator("#refresh-status", has_text="valid key").wait_for()
    await page.get_by_role("button", name="Refresh now").click()
    await page.get_by_label("Key", exact=True).fill(KEY)
    await page.keyboard.press("Escape")
    await page.locator("#refresh-status", has_text="Not refreshed").wait_for()
    await page.get_by_role("button", name="Refresh now").click()
    await page.get_by_label("Key", exact=True).fill(KEY)
    async with page.expect_navigation():
        await page.get_by_role("dialog").get_by_role("button", name="Refresh").click()

    assert await page.locator("#table tbody tr").count() == 250
    await page.close()


async def test_page_is_whole_without_scripts_and_light(browser: Browser, open_service: str, visit: Visit):
    await visit.page.request.post(f"{open_service}/countries/refresh")
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    loaded: list[Response] = []

    def note(response: Response) -> None:
        loaded.append(response)

    page.on("response", note)
    await page.goto(open_service)

    assert await page.locator("#table tbody tr").count() == 250
    assert await page.get_by_role("button", name="Refresh now").count() == 0
    assert sum(int(got.headers["content-length"]) for got in loaded if not got.url.endswith("/image")) < 100_000
    await context.close()


@pytest.mark.parametrize(
    ("scheme", "width"),
    [
        ("light", 360),
        *(pytest.param(*other, marks=pytest.mark.slow) for other in (("dark", 360), ("light", 1280), ("dark", 1280))),
    ],
)
async def test_page_fits_and_can_be_read(browser: Browser, visit: Visit, width: int, scheme: Any):
    """Nothing is wider than the screen, every control has a name, text stands out, and nothing moves while it loads."""
    await visit.page.request.post(f"{visit.url}/countries/refresh")
    context = await browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    await page.goto(visit.url, wait_until="networkidle")

    found = await page.evaluate(LOOK.read_text())
    assert found == {"wide": [], "unnamed": [], "faint": [], "shift": 0}
    await context.close()


async def test_keyboard_reaches_everything_in_order(visit: Visit):
    page = await refreshed(visit)
    names = []
    for _ in range(22):
        await page.keyboard.press("Tab")
        names.append((await page.evaluate(FOCUSED)).split("\n")[0])

    wanted = [
        "Skip to the countries",
        "Try it out",
        "Refresh now",
        "amount",
        "Convert",
        "search",
        "Download as CSV",
        "Country",
    ]
    places = [names.index(name) for name in wanted]
    assert places == sorted(places), names
