"""Writes docs/licences.md: the licence of every package that the service is shipped with; --check only compares.

It fails where a package has a licence that nobody has allowed here.
"""

import re
import sys
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import cast

from scripts.check_locks import read_lock

PAGE = Path(__file__).resolve().parent.parent / "docs" / "licences.md"
ALLOWED = {
    *("MIT", "MIT-0", "MIT-CMU", "ISC", "Unlicense", "PSF-2.0"),
    *("BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"),
    "MPL-2.0",  # of the files alone that have it, and we change none of them
}
NAMES = {
    "MIT License": "MIT",
    "BSD License": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "Apache Software License": "Apache-2.0",
}
"""Older names of licences, as their SPDX identifiers."""
NOT_EVERYWHERE = {"async-timeout": "Apache-2.0", "colorama": "BSD-3-Clause", "win32-setctime": "MIT"}
"""Packages that only another Python or system needs, and so are not installed where this runs."""
HEAD = """\
# Licences

The packages that the service is installed with, and their licences as they state them themselves. Made by
`python -m scripts.licences`; `scripts/check` fails where it is out of date, or a licence is none of those that are
allowed there. What comes with the data (Unicode CLDR, GeoNames, exchange rates) is in [sources](sources.md), the
fonts' licence in `app/countries/data/fonts`.

| package | licence |
| --- | --- |
"""


def licence_of(name: str) -> str:
    """The licence of an installed package, as an SPDX expression.

    Raises:
        SystemExit: The package is not installed, or does not say.
    """
    try:
        told = cast(Message, metadata(name))  # its own type knows less of it
    except PackageNotFoundError:
        if name in NOT_EVERYWHERE:
            return NOT_EVERYWHERE[name]
        sys.exit(f"{name} is not installed; run scripts/setup dev")
    return str(told["License-Expression"] or _older_statement(name, told))


def _older_statement(name: str, told: Message) -> str:
    classifiers = [text.rpartition(" :: ")[2] for text in told.get_all("Classifier") or () if text[:7] == "License"]
    stated = str(told["License"] or "")
    for statement in (stated, *classifiers):
        spelt = NAMES.get(statement, statement)
        if spelt in ALLOWED:
            return spelt
    sys.exit(f"{name} does not say which licence it has: {stated}, {classifiers}")


def main() -> None:
    """Write the page, or fail where it is not the one that is there."""
    licences = {name: licence_of(name) for name in sorted(read_lock("requirements.txt"))}
    for name, licence in licences.items():
        if not set(re.split(r" (?:AND|OR) ", licence)) <= ALLOWED:
            sys.exit(f"{name} has a licence that is not allowed in scripts/licences.py: {licence}")
    wanted = HEAD + "".join(f"| {name} | {licence} |\n" for name, licence in licences.items())
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != wanted:
        sys.exit("docs/licences.md is not what is installed; run: .venv/bin/python -m scripts.licences")


if __name__ == "__main__":
    main()
