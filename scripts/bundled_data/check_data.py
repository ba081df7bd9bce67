"""Prints how the bundled data compare with second sources; ``scripts/check-data`` runs it."""

import argparse
import sys

from scripts.bundled_data import update


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a value differs or is missing without a listed reason."""
    parser = argparse.ArgumentParser(prog="scripts/check-data", description="Compare the bundled data with others.")
    parser.add_argument("--details", action="store_true", help="print every difference too, with its reason")
    options = parser.parse_args(arguments)
    fields = update.compare_bundled()
    print(f"{'field':14} {'right':>5} {'listed':>6} {'off':>4} {'missing':>7}  second source")
    for field in fields:
        counts = f"{field.right:5} {len(field.listed):6} {len(field.off):4} {len(field.missing):7}"
        print(f"{field.name:14} {counts}  {field.source}")
    for field in fields:
        for found in (*field.off, *field.missing, *(field.listed if options.details else ())):
            reason = found.reason or "NO REASON LISTED"
            print(f"{field.name} {found.alpha2}: {found.ours}; second source {found.theirs}: {reason}")
    return 1 if any(field.off or not all(found.reason for found in field.missing) for field in fields) else 0


if __name__ == "__main__":
    sys.exit(main())
