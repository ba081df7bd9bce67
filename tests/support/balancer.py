"""HAProxy with the configuration that the project ships, in front of two replicas."""

import os
import re
import shutil
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.support.command import served
from tests.support.haproxy import PROGRAM
from tests.support.mariadb import free_port

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy/haproxy.cfg"


class Balancer:
    """Runs HAProxy inside a ``with`` block, on a free port, for replicas on the two given ports."""

    def __init__(self, one: int, two: int) -> None:
        # Paths of sockets may have about a hundred characters, which pytest's folders exceed.
        self.folder = Path(tempfile.mkdtemp(prefix="balancer-"))
        self._resources = ExitStack()
        self._resources.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = self.folder / "log"
        self.environment = {
            "PATH": os.environ["PATH"],
            "LISTEN": f":{self.port}",
            "ADMIN_SOCKET": f"{self.folder}/socket",
            "REPLICA_ONE": f"127.0.0.1:{one}",
            "REPLICA_TWO": f"127.0.0.1:{two}",
        }

    def __enter__(self) -> Self:
        command = [str(PROGRAM), "-db", "-f", str(CONFIGURATION)]
        self._resources.enter_context(served(command, self.folder, self.environment, self.log, is_ready=self._listens))
        return self

    def _listens(self) -> bool:
        with socket.socket() as client, socket.socket(socket.AF_UNIX) as admin:
            refused = client.connect_ex(("127.0.0.1", self.port)) or admin.connect_ex(self.environment["ADMIN_SOCKET"])
            return not refused

    def tell(self, command: str) -> str:
        """Send a command to the admin socket and return its answer."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(self.environment["ADMIN_SOCKET"])
            connection.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b"")).decode()

    def states(self, backend: str = "ready") -> dict[str, str]:
        """The state of each replica as HAProxy sees it, such as UP."""
        lines = [line.split(",") for line in self.tell("show stat").splitlines()]
        return {line[1]: line[17] for line in lines if line[0] == backend and line[1] != "BACKEND"}

    def chosen(self) -> list[str]:
        """The replica that answered each request so far, from the log."""
        return re.findall(r" http \w+/(\S+) ", self.log.read_text())

    def __exit__(self, *_: object) -> None:
        self._resources.close()
