"""Replays a Dockerfile in a folder and the current interpreter: no container engine runs where the tests run.

Knows only the instructions and commands that our Dockerfile uses; any other is an error.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

# They change the machine's accounts, and a replay runs as whoever runs the tests.
_ACCOUNT_COMMANDS = ("groupadd", "useradd")


def read_instructions(path: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile as (name, arguments), without comments and line breaks."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined)]


class Image:
    """What a Dockerfile builds, laid out under a folder that stands for the root of all its stages."""

    def __init__(self, context: Path, root: Path) -> None:
        self.context = context
        self.root = root
        self.workdir = root
        self.environment: dict[str, str] = {}
        self.command: list[str] = []
        self.health_command: list[str] = []
        self._ignore = shutil.ignore_patterns(*self._ignored())
        for name, rest in read_instructions(context / "Dockerfile"):
            getattr(self, f"_{name.lower()}")(rest)

    def _ignored(self) -> list[str]:
        patterns = (self.context / ".dockerignore").read_text().splitlines()
        return [pattern.removeprefix("**/") for pattern in patterns if pattern.startswith("**/")]

    def path(self, inside: str) -> Path:
        """Where something of the image is on this machine."""
        return self.root / inside.lstrip("/") if inside.startswith("/") else self.workdir / inside

    def _from(self, _: str) -> None:
        self.workdir, self.environment = self.root, {"PATH": os.environ["PATH"]}

    def _workdir(self, rest: str) -> None:
        self.workdir = self.path(rest)
        self.workdir.mkdir(parents=True, exist_ok=True)

    def _env(self, rest: str) -> None:
        for name, value in (pair.split("=", 1) for pair in shlex.split(rest)):
            expanded = value.replace("$PATH", self.environment["PATH"])
            self.environment[name] = re.sub(r"(?<![\w/])/(opt|app)(?=/)", rf"{self.root}/\1", expanded)

    def _copy(self, rest: str) -> None:
        *sources, target = rest.split()
        if sources[0].startswith("--from="):
            assert self.path(sources[1]) == self.path(target), "the stages share one root here"
            assert self.path(target).is_dir()
            return
        for source in sources:
            if (self.context / source).is_dir():
                shutil.copytree(self.context / source, self.path(target), ignore=self._ignore)
            else:
                shutil.copy(self.context / source, self.path(target))

    def _run(self, rest: str) -> None:
        for command in rest.split("&&"):
            name, *arguments = shlex.split(command)
            located = [str(self.path(word)) if word.startswith("/") else word for word in arguments]
            if name == "install":
                Path(located[-1]).mkdir()
            elif name not in _ACCOUNT_COMMANDS:
                interpreter = {"python": [sys.executable], "pip": [sys.executable, "-m", "pip"]}[name]
                # Bytecode is not what is tested, and makes a good part of the time.
                subprocess.run(
                    [*interpreter, *located], cwd=self.workdir, env={**os.environ, "PIP_NO_COMPILE": "1"}, check=True
                )

    def _user(self, _: str) -> None:
        """Not replayed, for the same reason as the accounts."""

    def _expose(self, rest: str) -> None:
        assert rest == self.environment["PORT"]

    def _healthcheck(self, rest: str) -> None:
        self.health_command = json.loads(rest.partition(" CMD ")[2])

    def _cmd(self, rest: str) -> None:
        self.command = json.loads(rest)
