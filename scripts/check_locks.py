"""Checks that requirements.txt and requirements-dev.txt match pyproject.toml.

Works offline: it compares the files and resolves nothing. Prints one line per
problem and exits with 1. ``scripts/lock`` fixes what it finds.
"""

import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
Versions = dict[str, set[str]]
"""The locked versions by package; several if they depend on the platform."""


def read_lock(name: str) -> Versions:
    """Read the pinned versions of a requirements file."""
    versions: Versions = defaultdict(set)
    for line in (ROOT / name).read_text().splitlines():
        if pin := re.match(r"([\w.-]+)(?:\[[^]]*])?==([^\s;]+)", line):
            versions[canonicalize_name(pin[1])].add(pin[2])
    return versions


def misfits(wanted: list[str], locked: Versions) -> Iterator[str]:
    """Yield a problem for each requirement that the locked versions do not meet."""
    for requirement in map(Requirement, wanted):
        versions = locked.get(canonicalize_name(requirement.name))
        if not versions:
            yield f"{requirement.name} is not locked"
        elif unfit := [version for version in versions if version not in requirement.specifier]:
            yield f"{requirement} is locked to {', '.join(unfit)}"


def find_problems() -> Iterator[str]:
    """Yield all problems of the two lock files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    runtime, development = read_lock("requirements.txt"), read_lock("requirements-dev.txt")
    dependencies = project["project"]["dependencies"]
    for problem in misfits(dependencies, runtime):
        yield f"requirements.txt: {problem}"
    for problem in misfits(project["dependency-groups"]["dev"], development):
        yield f"requirements-dev.txt: {problem}"
    for name, versions in runtime.items():
        if development.get(name) != versions:
            yield f"requirements-dev.txt: {name} has another version than in requirements.txt"


if __name__ == "__main__":
    problems = list(find_problems())
    sys.exit("\n".join([*problems, "Run scripts/lock."]) if problems else None)
