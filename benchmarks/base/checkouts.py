"""The measured versions of the service: this checkout, and another one to compare with."""

import io
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.service import ROOT, environment


class NotACheckout(Exception):
    """Neither a folder with the service nor a commit."""


@dataclass(frozen=True)
class Checkout:
    """A folder with a version of the service; all versions run in the same Python environment."""

    name: str
    """Heading of its column."""
    root: Path

    def command(self, *arguments: str) -> list[str]:
        """``python -m app`` with these arguments."""
        return [sys.executable, "-m", "app", *arguments]

    def environment(self, **settings: object) -> dict[str, str]:
        """What a process of this version needs, with these settings and none of this machine's."""
        return environment(pythonpath=self.root, **settings)


HERE = Checkout("now", ROOT)


def find_checkout(where: str, folder: Path) -> Checkout:
    """The version in a folder, or the one of a commit, which is unpacked into ``folder``.

    Raises:
        NotACheckout: There is no such folder with the service and no such commit.
    """
    if (Path(where) / "app/main.py").is_file():
        root = Path(where).resolve()
        return Checkout(root.name, root)
    command = ["git", "-C", str(ROOT), "archive", "--format=tar", where]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise NotACheckout(f"--against must be a folder with the service or a commit: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Checkout(where, folder)
