"""Runs the command line: ``python -m app``."""

from app.cli.app import cli

if __name__ == "__main__":
    cli()
