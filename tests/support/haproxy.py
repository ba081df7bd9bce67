"""HAProxy in front of a Galera cluster, with the configuration that docs/scaling.md recommends."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pymysql

from checks.support.galera import GaleraNode, documented
from tests.support.mariadb import free_port, wait_until_it_answers

PROGRAM = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
USER = "haproxy_check"
"""The user of the health check: no password, no rights."""


def _version() -> tuple[int, ...]:
    shown = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True, check=True).stdout if PROGRAM else ""
    found = re.search(r"version (\d+)\.(\d+)", shown)
    return tuple(map(int, found.groups())) if found else ()


VERSION = _version()
"""Such as (2, 6); empty without HAProxy."""


def what_is_missing() -> str:
    """What to install before HAProxy can be started here; empty if it is installed."""
    return "" if PROGRAM else "no HAProxy here; apt-get install haproxy"


def check_login() -> str:
    """The hexadecimal packet that signs the health check in: protocol 4.1, no password."""
    capabilities = (0x0001 | 0x0200 | 0x8000).to_bytes(4, "little")  # long password, protocol 4.1, secure connection
    body = capabilities + (2**24).to_bytes(4, "little") + bytes([45]) + bytes(23) + USER.encode() + b"\0\0"
    return _packet(1, body).hex()


def check_query() -> str:
    """The hexadecimal packet that asks for the state of the node."""
    return _packet(0, b"\3SHOW STATUS LIKE 'wsrep_local_state_comment'").hex()


def _packet(number: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "little") + bytes([number]) + body


class HAProxy:
    """Runs for the length of the block, and sends all connections to one of the healthy nodes."""

    def __init__(self, nodes: Sequence[GaleraNode]) -> None:
        self.nodes = nodes
        self.port = free_port()

    def __enter__(self) -> Self:
        self.nodes[0].execute(f"CREATE USER IF NOT EXISTS {USER}")
        self.folder = Path(tempfile.mkdtemp(prefix="haproxy-"))
        text = documented("haproxy")
        for packet in (check_login(), check_query()):
            assert packet in text, "the page has other bytes"
        text = text.replace("10.0.0.10:3306", f"127.0.0.1:{self.port}")
        for node in self.nodes:
            text = text.replace(f"10.0.0.{node.number}:3306", f"127.0.0.1:{node.port}")
        (self.folder / "haproxy.cfg").write_text(text)
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(PROGRAM), "-db", "-f", str(self.folder / "haproxy.cfg")], stdout=log, stderr=log
            )
        wait_until_it_answers(self.chosen_node, self.process, self.folder / "log")
        return self

    def chosen_node(self) -> str:
        """The name of the node that gets a new connection."""
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root", read_timeout=5)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT @@wsrep_node_name")
            return str(cursor.fetchone()[0])

    def url(self, database: str) -> str:
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
