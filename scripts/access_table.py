"""Writes the table in docs/access.md from app/service/openapi.json; --check only compares."""

import sys
from pathlib import Path
from typing import Any

from app.service.docs import read_document

PAGE = Path(__file__).resolve().parent.parent / "docs" / "access.md"
START, END = "<!-- access -->", "<!-- /access -->"


def access_table() -> str:
    """One row per operation, in the order of the OpenAPI document."""
    paths = read_document()["paths"]
    rows = [
        f"| `{method.upper()} {path}` | {operation['x-access']} | {_api_key(operation)} |"
        for path, operations in paths.items()
        for method, operation in operations.items()
    ]
    return "\n".join(["| request | for | scope of an API key |", "| --- | --- | --- |", *rows])


def _api_key(operation: dict[str, Any]) -> str:
    scope: str = operation.get("x-scope", "refused")
    return scope if "security" in operation else "not needed"


def main() -> None:
    """Write the table; with --check, fail if it is out of date."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    wanted = f"{before}{START}\n\n{access_table()}\n\n{END}{after}"
    if "--check" not in sys.argv:
        PAGE.write_text(wanted, encoding="utf-8")
    elif text != wanted:
        sys.exit("docs/access.md does not match the routes; run: .venv/bin/python -m scripts.access_table")


if __name__ == "__main__":
    main()
