"""Takes the pictures of the page for the documentation; run by scripts/screenshots."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PORT = 8798
URL = f"http://127.0.0.1:{PORT}"
START_SECONDS = 60
MAX_BYTES = 300_000
"""Of one picture."""
SIZES = {"page-desktop.png": (1280, 1900), "page-phone.png": (390, 1900)}
COLOURS = 128


@contextmanager
def started(folder: str) -> Iterator[None]:
    """Run the service with bundled data, loaded, while the block runs."""
    settings = {"PORT": str(PORT), "COUNTRY_SOURCES": "bundled", "RATE_SOURCES": "bundled", "DATABASE_URL": ""}
    settings["DATABASE_URL"] = f"sqlite:///{folder}/countries.db"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
    with subprocess.Popen([sys.executable, "-m", "app", "serve"], cwd=folder, env=environment) as service:
        try:
            until_loaded()
            yield
        finally:
            service.terminate()


def until_loaded() -> None:
    """Wait for the first refresh."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{URL}/status").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    sys.exit("The service did not load its data")


def take(browser: Browser, name: str, width: int, height: int) -> None:
    """Take a picture of the top of the page, with few colours, to keep the file small."""
    path = ROOT / "docs" / name
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(URL)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)
    page.close()
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"docs/{name}: {width} x {height}, {path.stat().st_size} bytes")
    if path.stat().st_size > MAX_BYTES:
        sys.exit(f"docs/{name} is larger than {MAX_BYTES} bytes")


def main() -> None:
    """Take both pictures."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("Chromium is not installed; on Debian: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, started(folder), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for name, size in SIZES.items():
            take(browser, name, *size)
        browser.close()


if __name__ == "__main__":
    main()
