"""A full disk under SQLite, with readers and writers of every slice."""

import contextlib
import subprocess
from contextlib import asynccontextmanager

import pytest

from checks.support.outage import CHANGES
from checks.support.scene import Scene, staged
from tests.conftest import migrate_in_thread


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 MiB in memory; only root can mount it."""
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@asynccontextmanager
async def full(scene: Scene):
    filler = scene.disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@pytest.mark.row("4.05 disk full (SQLite on a tmpfs of 16 MiB)")
async def test_full_disk_is_503_for_changes_while_reads_continue(small_disk, tmp_path_factory, is_full, figure):
    """Broken on purpose: with operational errors treated as bugs of the service changes were 500."""
    url = f"sqlite:///{small_disk}/countries.db"
    migrate_in_thread(url)
    async with staged(tmp_path_factory.mktemp("service"), url, is_full=is_full, disk=small_disk) as scene:
        figure((await scene.suffer(full, is_away=False, refused=CHANGES)).figure())
