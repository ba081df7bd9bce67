"""The pages in a real Chromium, served by a separate process. Without Chromium: skipped, or failed if CI=true."""

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
    """A page, and the errors and requests to other hosts that it causes."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.problems: list[str] = []
        page.set_default_timeout(15_000)
        page.on("console", self._on_message)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._on_request)

    def _on_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.problems.append(request.url)


def serving(**settings: object) -> Any:
    """A fixture with the URL of a service."""

    @pytest.fixture(scope="module")
    async def url(_upstream: FakeUpstream, sqlite_template: Path, tmp_path_factory: Any) -> AsyncIterator[str]:
        folder = tmp_path_factory.mktemp("service")
        _upstream.answers |= usual_answers()
        database = f"sqlite:///{shutil.copy(sqlite_template, folder / 'countries.db')}"
        sources = {"country_sources": _upstream.url(COUNTRIES), "rate_sources": _upstream.url(RATES)}
        async with ServiceProcess(folder, database_url=database, **sources, **settings) as started:
            yield started.url

    return url


open_service, closed_service = serving(), serving(admin_api_key=KEY)


async def execute(page: Page, operation_id: str) -> str:
    """Try out an operation of /docs; returns the text of its response."""
    operation = page.locator(f"#operations-{operation_id}")
    button = operation.get_by_role("button", name="Execute")
    if not await button.is_visible():
        await operation.locator(".opblock-summary-control").click()
    await button.click()
    response = operation.locator(".live-responses-table .response").first
    await response.wait_for()
    return await response.inner_text()


@pytest.fixture
async def visit(browser: Browser, open_service: str, upstream: FakeUpstream) -> AsyncIterator[Visit]:
    page = await browser.new_page()
    visit = Visit(page, open_service)
    yield visit
    assert visit.problems == []
    await page.close()


async def test_docs_run_a_refresh_and_read_a_country(visit: Visit):
    await visit.page.goto(f"{visit.url}/docs")

    refreshed = await execute(visit.page, "countries-refresh_countries")
    assert refreshed.startswith("200")
    assert '"total_countries": 250' in refreshed
    assert '"name": "Ghana"' in await execute(visit.page, "countries-get_country")


@pytest.mark.slow
async def test_docs_authorize_with_an_api_key(browser: Browser, closed_service: str, upstream: FakeUpstream):
    visit = Visit(page := await browser.new_page(), closed_service)
    await page.goto(f"{closed_service}/docs")
    await page.get_by_role("button", name="Authorize").first.click()
    await page.get_by_role("textbox", name="Value:").fill(KEY)
    await page.locator(".auth-container", has_text="ApiKey").get_by_role("button", name="Apply credentials").click()
    await page.get_by_role("button", name="Close").first.click()

    assert (await execute(page, "countries-refresh_countries")).startswith("200")
    assert visit.problems == []
    await page.close()


@pytest.mark.slow
async def test_reference_lists_every_tag(visit: Visit):
    await visit.page.goto(f"{visit.url}/redoc")

    await visit.page.get_by_role("heading", name="Refresh countries and rates").wait_for()
    menu = await visit.page.get_by_role("menuitem").all_inner_texts()
    assert {"countries", "rates", "tracking", "sign-in", "users", "audit", "service"} <= set(menu)


async def test_page_refreshes_filters_sorts_and_downloads(visit: Visit, upstream: FakeUpstream):
    page = visit.page
    await page.goto(visit.url)
    before = upstream.hits[COUNTRIES]
    async with page.expect_navigation():
        await page.get_by_role("button", name="Refresh now").click()
    assert upstream.hits[COUNTRIES] == before + 1

    listed = await page.request.get(f"{visit.url}/countries?region=Africa&currency=XOF")
    africa_in_xof = len(await listed.json())
    await page.get_by_label("Region", exact=True).select_option("Africa")
    await page.get_by_label("Name", exact=True).fill("IVORY  Coast")
    await page.get_by_label("Currency", exact=True).select_option("XOF")
    await page.locator("#found", has_text="1 country").wait_for()
    async with page.expect_download() as started:
        await page.get_by_role("link", name="Download as CSV").click()
    lines = (await (await started.value).path()).read_text("utf-8-sig").splitlines()
    assert len(lines) == 2
    assert "Ivoire" in lines[1]

    await page.get_by_label("Name", exact=True).fill("")
    await page.locator("#found", has_text=f"{africa_in_xof} countries").wait_for()
    await page.get_by_label("Currency", exact=True).select_option("")
    await page.get_by_role("button", name="Population").click()
    listed = await page.request.get(f"{visit.url}/countries?region=Africa&sort=population_desc&fields=name&limit=3")
    rows = await page.locator("#table tbody tr:not([hidden]) th").all_inner_texts()
    assert [row.split(" ", 1)[1] for row in rows[:3]] == [country["name"] for country in await listed.json()]


@pytest.mark.slow
async def test_converter_writes_the_same_with_and_without_scripts(browser: Browser, visit: Visit):
    await visit.page.request.post(f"{visit.url}/countries/refresh")
    without = await (await browser.new_context(java_script_enabled=False)).new_page()

    async def convert(page: Page, amount: str, base: str, to: str) -> str:
        await page.goto(visit.url)
        await page.get_by_label("Amount").fill(amount)
        await page.get_by_label("From", exact=True).select_option(base)
        await page.get_by_label("To", exact=True).select_option(to)
        await page.get_by_role("button", name="Convert").click()
        await page.locator("#converted:not(:empty)").wait_for()
        return await page.locator("#converted").inner_text()

    asked = [("1,000,000", "IRR", "EUR"), ("1", "IRR", "EUR"), ("1,000.50", "USD", "BHD"), ("1234567", "USD", "IRR")]
    for query in [*asked, ("0", "USD", "JPY"), ("250", "EUR", "NGN")]:
        shown = await convert(visit.page, *query)
        assert " = " in shown
        assert shown == await convert(without, *query)
    await without.context.close()


@pytest.mark.slow
async def test_refresh_asks_for_an_api_key_if_one_is_required(
    browser: Browser, closed_service: str, upstream: FakeUpstream
):
    page = await browser.new_page()
    await page.goto(closed_service)
    refresh = page.get_by_role("button", name="Refresh now")
    send = page.get_by_role("dialog").get_by_role("button", name="Refresh")
    field, status = page.get_by_label("Key", exact=True), page.locator("#refresh-status")
    await refresh.click()
    await field.fill("wrong")
    await send.click()
    await status.filter(has_text="valid key").wait_for()
    await refresh.click()
    await field.fill(KEY)
    await page.keyboard.press("Escape")
    await status.filter(has_text="Not refreshed").wait_for()
    await refresh.click()
    await field.fill(KEY)
    async with page.expect_navigation():
        await send.click()

    assert await page.locator("#table tbody tr").count() == 250
    await page.close()


async def test_page_works_without_scripts_and_is_small(browser: Browser, open_service: str, visit: Visit):
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
    await page.get_by_label("Name", exact=True).fill("uk")
    await page.get_by_role("button", name="Search").click()
    assert (await page.locator("#table tbody tr:visible th").first.inner_text()).endswith("United Kingdom")
    await page.get_by_role("link", name="All countries").click()
    assert await page.locator("#table tbody tr:visible").count() == 250
    assert sum(int(got.headers["content-length"]) for got in loaded if not got.url.endswith("/image")) < 100_000
    await context.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("width", [360, pytest.param(1280, marks=pytest.mark.slow)])
async def test_page_fits_the_screen_and_is_readable(browser: Browser, visit: Visit, width: int, scheme: Any):
    """No horizontal overflow, labels for all controls, enough contrast, and no layout shift while loading."""
    await visit.page.request.post(f"{visit.url}/countries/refresh")
    context = await browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = await context.new_page()
    await page.goto(visit.url, wait_until="networkidle")

    found = await page.evaluate(LOOK.read_text())
    assert found == {"wide": [], "unnamed": [], "faint": [], "shift": 0}
    await context.close()


async def test_keyboard_reaches_everything_in_order(visit: Visit):
    page, names = visit.page, []
    await page.request.post(f"{visit.url}/countries/refresh")
    await page.goto(visit.url)
    for _ in range(22):
        await page.keyboard.press("Tab")
        names.append((await page.evaluate(FOCUSED)).split("\n")[0])

    wanted = "Skip to the countries|Try it out|Refresh now|amount|Convert|search|Download as CSV|Country"
    places = [names.index(name) for name in wanted.split("|")]
    assert places == sorted(places), names
