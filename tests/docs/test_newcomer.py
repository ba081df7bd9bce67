"""The first minute after cloning the repository, following only the documentation."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.mariadb import free_port
from tests.support.markdown_blocks import ROOT

pytestmark = pytest.mark.slow

START_SECONDS = 60


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that git would clone, with a finished virtual environment, which would take a minute."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    folder = tmp_path / "clone"
    for name in files:
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def address(clone: Path) -> Iterator[str]:
    """What ``scripts/run`` says to open, with a free port; the sources are bundled, so that it needs no internet."""
    settings = {"PORT": str(free_port()), "COUNTRY_SOURCES": "bundled", "RATE_SOURCES": "bundled"}
    environment, pipe = {"PATH": os.environ["PATH"], **settings}, subprocess.PIPE
    with subprocess.Popen(["scripts/run"], cwd=clone, env=environment, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        try:
            found = (re.match(r"Open +(http\S+) +the countries\n", line) for line in process.stderr)
            yield next(match[1] for match in found if match)
        finally:
            process.send_signal(signal.SIGTERM)
            process.stderr.read()


def test_newcomer_opens_the_page_refreshes_and_downloads_the_table(address: str):
    began = time.monotonic()
    with httpx.Client(base_url=address, timeout=START_SECONDS, transport=httpx.HTTPTransport(retries=10)) as client:
        while "250 countries" not in (page := client.get("/", headers={"Accept": "text/html"})).text:
            assert time.monotonic() < began + START_SECONDS, page.text
            time.sleep(0.2)
        shown = time.monotonic()
        report = client.post("/countries/refresh").json()
        table = client.get(re.findall(r'id="download" href="([^"]+)"', page.text)[0] + "&region=africa").text
        done = time.monotonic()

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert report["message"] == "Countries refreshed successfully"
    lines = table.splitlines()
    assert lines[0].removeprefix("\ufeff").startswith(("id,name,", "name,"))
    assert len(lines) == 1 + 60
    # Shown by -rP; docs/getting-started.md quotes it.
    print(f"page after {shown - began:.1f} s, refresh and table {done - shown:.1f} s later")  # noqa: T201
