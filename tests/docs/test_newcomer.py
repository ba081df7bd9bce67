"""The first minute of somebody who has just cloned the repository: what the documentation says, and nothing else."""

import os
import re
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
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git has of this state, with a virtual environment that is installed already: that takes a minute."""
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    folder = tmp_path / "clone"
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
            (folder / name).chmod((ROOT / name).stat().st_mode)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.fixture
def service(clone: Path) -> Iterator[subprocess.Popen[str]]:
    """``scripts/run``, with no setting but a free port and, since no test asks the internet, the bundled sources."""
    settings = {"PORT": str(free_port()), "COUNTRY_SOURCES": "bundled", "RATE_SOURCES": "bundled"}
    with subprocess.Popen(
        ["scripts/run"],
        cwd=clone, env={"PATH": os.environ["PATH"], **settings},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        process.stderr.read()


def address_to_open(service: subprocess.Popen[str]) -> str:
    assert service.stderr is not None
    for line in service.stderr:
        if found := re.match(r"Open +(http\S+) +the countries\n", line):
            return found[1]
    raise AssertionError("It ended without saying what to open")


def test_newcomer_has_page_refresh_and_table_without_looking_anything_up(service: subprocess.Popen[str]):
    began = time.monotonic()
    address = address_to_open(service)
    with httpx.Client(base_url=address, timeout=START_SECONDS, transport=httpx.HTTPTransport(retries=10)) as client:
        while "250 countries" not in (page := client.get("/", headers=BROWSER)).text:
            assert time.monotonic() < began + START_SECONDS, page.text
            time.sleep(0.2)
        shown = time.monotonic()
        report = client.post("/countries/refresh").json()
        table = client.get(re.findall(r'id="download" href="([^"]+)"', page.text)[0] + "&region=africa").text
        done = time.monotonic()

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert report["message"] == "Countries refreshed successfully"
    lines = table.splitlines()
    assert lines[0].startswith("\ufeffid,name,") or lines[0].startswith("\ufeffname,"), lines[0]
    assert len(lines) == 1 + 60
    # Shown by -rP; docs/getting-started.md tells what it was.
    print(f"page after {shown - began:.1f} s, refresh and table {done - shown:.1f} s later")  # noqa: T201
