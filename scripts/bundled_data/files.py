"""The input tables of the bundled data, and the layout of the files that are written."""

import csv
import json
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
INPUTS: Final = Path(__file__).resolve().parent / "inputs"
DATA: Final = ROOT / "app/sources/data"


def read_table(name: str) -> dict[str, dict[str, str]]:
    """The rows of a CSV file in ``inputs/``, by alpha-2 code."""
    with (INPUTS / name).open(encoding="utf-8", newline="") as file:
        return {row["alpha2"]: row for row in csv.DictReader(file)}


def read_input(name: str) -> Any:
    """The content of a JSON file in ``inputs/``."""
    return json.loads((INPUTS / name).read_text("utf-8"))


def one_per_line(document: dict[str, Any], *opened: str) -> str:
    """JSON with one line per member, and one per entry of the members in ``opened``."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    def block(value: Any, indent: str) -> str:
        if isinstance(value, dict):
            brackets, lines = "{}", [f"{line(key)}: {line(entry)}" for key, entry in value.items()]
        else:
            brackets, lines = "[]", [line(entry) for entry in value]
        return f"{brackets[0]}\n{indent}  " + f",\n{indent}  ".join(lines) + f"\n{indent}{brackets[1]}"

    members = []
    for key, value in document.items():
        members.append(f"{line(key)}: {block(value, '  ') if key in opened else line(value)}")
    return "{\n  " + ",\n  ".join(members) + "\n}\n"


def write(files: dict[Path, str]) -> None:
    """Replace files one by one, each at once."""
    for path, text in files.items():
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_text(text, encoding="utf-8", newline="\n")
        fresh.replace(path)
