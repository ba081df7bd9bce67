"""A MariaDB Galera cluster of three nodes on loopback, with the configuration that docs/scaling.md recommends."""

import itertools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Self

import pymysql

from tests.support.mariadb import INSTALLER, PROGRAM, START_SECONDS, MariaDBProcess, free_port

LIBRARY = next((found for found in Path("/usr").glob("lib*/galera*/libgalera_smm.so")), None)
NEEDED = ("rsync", "socat", "lsof")
"""Programs that a node calls to copy the data of another one."""
PAGE = Path(__file__).resolve().parents[2] / "docs/scaling.md"
MINE: dict[str, Any] = {"user": "mysql", "group": "mysql"} if os.geteuid() == 0 else {}
"""Run as root, rsync drops its rights in the middle of a transfer and cannot read the rest."""


def what_is_missing() -> str:
    """What to install before a cluster can be started here; empty if everything is installed."""
    missing = [] if PROGRAM and INSTALLER else ["mariadb-server"]
    missing += [] if LIBRARY else ["galera-4"]
    missing += [program for program in NEEDED if shutil.which(program) is None]
    return f"no Galera cluster can be started here; apt-get install {' '.join(missing)}" if missing else ""


def documented(kind: str) -> str:
    """The block of this kind in docs/scaling.md, so that the recommended configuration is the tested one."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{PAGE} has no block {kind}"
    return found[1]


class GaleraNode(MariaDBProcess):
    """One node; start() starts it."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.folder = folder / f"node{number}"
        self.data = self.folder / "data"
        for path in (self.folder / "tmp", self.data):
            path.mkdir(parents=True)
        self.places = [f"--datadir={self.data}", f"--tmpdir={self.folder}/tmp"]
        self.port, self.group_port, self.transfer_port, self.increment_port = (free_port() for _ in range(4))
        self.group_address = f"127.0.0.1:{self.group_port}"

    def install(self) -> None:
        """Create the system tables; the other nodes copy those of the first one."""
        command = [str(INSTALLER), "--no-defaults", *self.places, "--auth-root-authentication-method=normal"]
        subprocess.run([*command, "--skip-test-db"], check=True, capture_output=True, **MINE)

    def configure(self, nodes: Iterable["GaleraNode"]) -> None:
        """Write the configuration of this node in a cluster of these nodes."""
        own = (
            f"base_port={self.group_port};gmcast.listen_addr=tcp://{self.group_address};"
            f"ist.recv_addr=127.0.0.1:{self.increment_port};gcache.size=16M;"
        )
        text = documented("galera")
        text = text.replace(
            "gcomm://10.0.0.1,10.0.0.2,10.0.0.3", "gcomm://" + ",".join(node.group_address for node in nodes)
        )
        text = text.replace("wsrep_node_address = 10.0.0.1", "wsrep_node_address = 127.0.0.1")
        text = text.replace('wsrep_provider_options = "', f'wsrep_provider_options = "{own}')
        (self.folder / "my.cnf").write_text(text)
        self.command = [
            *(str(PROGRAM), f"--defaults-file={self.folder}/my.cnf", *self.places, f"--port={self.port}"),
            *("--bind-address=127.0.0.1", f"--socket={self.folder}/socket", f"--pid-file={self.folder}/pid"),
            *(f"--wsrep-provider={LIBRARY}", "--performance-schema=OFF"),
            *(f"--wsrep-node-name=node{self.number}", f"--wsrep-sst-receive-address=127.0.0.1:{self.transfer_port}"),
            *("--innodb-buffer-pool-size=48M", "--innodb-log-file-size=32M", "--skip-name-resolve"),
        ]

    def start(self, *arguments: str) -> None:
        """Start without waiting; ``--wsrep-new-cluster`` makes it the first node."""
        with (self.folder / "log").open("ab") as log:
            self.process = self._run(log, *arguments)

    def restart(self, *arguments: str) -> None:
        """Start after a crash: find the position first, as Debian's service does, to fetch only what was missed."""
        if not any(self.data.iterdir()):
            self.start(*arguments)
            return
        with tempfile.TemporaryFile() as log:
            self._run(log, "--wsrep-recover").wait(START_SECONDS)
            log.seek(0)
            positions = re.findall(r"Recovered position: (\S+)", log.read().decode())
        self.start(f"--wsrep-start-position={positions[-1]}", *arguments)

    def _run(self, log: IO[bytes], *arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([*self.command, *arguments], stdout=log, stderr=log, **MINE)

    def wait(self) -> None:
        """Wait until it has all data and takes part."""
        deadline = time.monotonic() + START_SECONDS
        while self.state() != "Synced":
            if time.monotonic() > deadline or not self.is_running():
                raise RuntimeError((self.folder / "log").read_text()[-20_000:])
            time.sleep(0.05)

    def is_running(self) -> bool:
        return hasattr(self, "process") and self.process.poll() is None

    def bootstrap(self) -> None:
        """Make this node, with those that it sees, the cluster, because the others are dead."""
        self.execute("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")
        self.wait()

    def state(self) -> str:
        """The node's own word for its state, such as Synced; empty if it does not answer."""
        try:
            return str(self.execute("SHOW STATUS LIKE 'wsrep_local_state_comment'")[0][1])
        except pymysql.err.OperationalError:
            return ""

    def lose_data(self) -> None:
        """As a machine with a new disk; the next start copies everything from another node."""
        shutil.rmtree(self.data)
        self.data.mkdir()
        if MINE:
            shutil.chown(self.data, **MINE)

    def stop(self) -> None:
        if self.is_running():
            super().stop()


class GaleraCluster:
    """Three nodes that run for the length of the block."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="galera-"))
        self._numbers = itertools.count(1)
        self.nodes = [GaleraNode(self.folder, number) for number in (1, 2, 3)]
        if MINE:
            for path in (self.folder, *self.folder.rglob("*")):
                shutil.chown(path, **MINE)
        try:
            for node in self.nodes:
                node.configure(self.nodes)
            self.form()
        except BaseException:
            self.__exit__()
            raise
        return self

    def form(self) -> None:
        """Start all nodes on copies of the first one's data, which is faster than a transfer."""
        first, *others = self.nodes
        first.install()
        first.start("--wsrep-new-cluster")
        first.wait()
        first.stop()
        for node in others:
            subprocess.run(["cp", "-a", first.data, node.folder], check=True)
        first.start("--wsrep-new-cluster")
        first.wait()
        for node in others:
            node.start()
        for node in others:
            node.wait()

    def new_database(self) -> str:
        """Create an empty database; returns its name."""
        name = f"service{next(self._numbers)}"
        self.nodes[0].execute(f"CREATE DATABASE {name}")
        return name

    def bring_back(self) -> None:
        """Start every dead node, one after the other, and wait until all take part."""
        for node in self.nodes:
            if not node.is_running():
                node.restart()
            node.wait()

    def heal(self) -> None:
        """Bring all nodes back; if most are dead, the others first continue without them."""
        for node in self.nodes:
            if node.is_running() and node.state() == "Initialized":
                node.bootstrap()
        self.bring_back()

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            node.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
