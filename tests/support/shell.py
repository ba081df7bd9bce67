"""One shell for all blocks of a page: what one block sets, the next ones have."""

import os
import signal
import subprocess
from pathlib import Path

MARK = "=== end of the block, failed:"
# A block fails with any of its commands, as it would for a reader who looks at each of them.
PROLOGUE = "set -E -o pipefail; trap 'failed=1' ERR\n"


class Shell:
    """A bash in a folder, which runs one piece of text after the other."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._script = folder / ".block.sh"
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._tell(PROLOGUE)

    def run(self, commands: str) -> tuple[str, bool]:
        """What a terminal would show, both outputs in their order; and whether every command succeeded."""
        assert self._process.stdout is not None
        self._script.write_text(commands)
        self._tell(f". ./{self._script.name} </dev/null; printf '\\n%s %s\\n' '{MARK}' \"${{failed:-0}}\"; failed=\n")
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith(MARK):
                return "".join(lines).removesuffix("\n"), line.split()[-1] == "0"
            lines.append(line)
        raise AssertionError(f"the shell ended: {''.join(lines)}")

    def _tell(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def close(self) -> None:
        """End it and everything that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
