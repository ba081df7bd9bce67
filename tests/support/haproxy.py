"""HAProxy in front of a Galera cluster, with the configuration that docs/scaling.md recommends."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pymysql

from checks.support.galera import GaleraNode, documented
from tests.support.mariadb import free_port

PROGRAM = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
USER = "haproxy_check"
"""Who asks for the state of a node: without a password and without any right."""


def what_is_missing() -> str:
    """What to install before HAProxy can be started here; empty where it is there."""
    return "" if PROGRAM else "no HAProxy here; apt-get install haproxy"


def check_login() -> str:
    """The packet that logs the user of the health check in, in hexadecimal: protocol 4.1, no password."""
    capabilities = (0x0001 | 0x0200 | 0x8000).to_bytes(4, "little")  # long password, protocol 4.1, secure connection
    body = capabilities + (2**24).to_bytes(4, "little") + bytes([45]) + bytes(23) + USER.encode() + b"\0\0"
    return _packet(1, body).hex()


def check_query() -> str:
    """The packet that asks for the state of the node."""
    return _packet(0, b"\3SHOW STATUS LIKE 'wsrep_local_state_comment'").hex()


def _packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([number]) + body


class HAProxy:
    """Runs when this is entered; one node of those that are well gets all connections."""

    def __init__(self, nodes: Sequence[GaleraNode]) -> None:
        self.nodes = nodes
        self.port = free_port()

    def __enter__(self) -> Self:
        self.nodes[0].execute(f"CREATE USER IF NOT EXISTS {USER}")
        self.folder = Path(tempfile.mkdtemp(prefix="haproxy-"))
        text = documented("haproxy")
        assert check_login() in text, "the bytes of the page say something else"
        assert check_query() in text, "the bytes of the page say something else"
        text = text.replace("10.0.0.10:3306", f"127.0.0.1:{self.port}")
        for node in self.nodes:
            text = text.replace(f"10.0.0.{node.number}:3306", f"127.0.0.1:{node.port}")
        (self.folder / "haproxy.cfg").write_text(text)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "-db", "-f", str(self.folder / "haproxy.cfg")], stdout=log, stderr=log
            )
        self._wait()
        return self

    def chosen_node(self) -> str:
        """The name of the node to which a new connection goes."""
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root", read_timeout=5)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@wsrep_node_name")
            return str(cursor.fetchone()[0])

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while True:
            try:
                self.chosen_node()
            except pymysql.err.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return

    def url(self, database: str) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
