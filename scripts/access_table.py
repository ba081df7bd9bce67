"""Writes the table of docs/access.md from the rules that stand beside the routes; --check only compares."""

import sys
from pathlib import Path

from app.core.config.settings import Settings
from app.core.telemetry.log import LogLines
from app.main import create_app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "access.md"
START, END = "<!-- access -->", "<!-- /access -->"


def access_table() -> str:
    """One row an operation, in the order of the OpenAPI document."""
    paths = create_app(Settings(_env_file=None), lines=LogLines(None, str)).openapi()["paths"]
    rows = [
        f"| `{method.upper()} {path}` | {operation['x-access']} |"
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    return "\n".join(["| request | for |", "| --- | --- |", *rows])


def main() -> None:
    """Write the table, or fail where it is not the one that is there."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    wanted = f"{before}{START}\n\n{access_table()}\n\n{END}{after}"
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        sys.exit("docs/access.md is not what the routes say; run: .venv/bin/python -m scripts.access_table")


if __name__ == "__main__":
    main()
