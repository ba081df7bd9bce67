"""A MariaDB Galera cluster of three nodes on loopback, with the configuration that docs/scaling.md recommends."""

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

from tests.support.mariadb import INSTALLER, PROGRAM, free_port

LIBRARY = next((found for found in Path("/usr").glob("lib*/galera*/libgalera_smm.so")), None)
NEEDED = ("rsync", "socat", "lsof")
"""Programs that a node calls when it takes the data over from another one."""
PAGE = Path(__file__).resolve().parents[2] / "docs/scaling.md"
START_SECONDS = 60
MINE: dict[str, Any] = {"user": "mysql", "group": "mysql"} if os.geteuid() == 0 else {}
"""As root, rsync would drop its rights in the middle of a transfer, and could not read what it has to send."""


def what_is_missing() -> str:
    """What to install before a cluster can be started here; empty where all is there."""
    missing = [] if PROGRAM and INSTALLER else ["mariadb-server"]
    missing += [] if LIBRARY else ["galera-4"]
    missing += [program for program in NEEDED if shutil.which(program) is None]
    return f"no Galera cluster can be started here; apt-get install {' '.join(missing)}" if missing else ""


def documented(kind: str) -> str:
    """The block of docs/scaling.md that is marked as of this kind: what is recommended there is what is tested."""
    found = re.search(rf"^```{kind}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{PAGE} has no block {kind}"
    return found[1]


class GaleraNode:
    """One node; it starts when it is told to."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.folder = folder / f"node{number}"
        self.data = self.folder / "data"
        for path in (self.folder / "tmp", self.data):
            path.mkdir(parents=True)
        self.places = [f"--datadir={self.data}", f"--tmpdir={self.folder}/tmp"]
        self.port, self.group_port, self.transfer_port, self.increment_port = (free_port() for _ in range(4))
        self.group_address = f"127.0.0.1:{self.group_port}"
        self.process: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Make system tables; the other nodes get those of the first one."""
        command = [str(INSTALLER), "--no-defaults", *self.places, "--auth-root-authentication-method=normal"]
        subprocess.run([*command, "--skip-test-db"], check=True, capture_output=True, **MINE)

    def configure(self, nodes: Iterable["GaleraNode"]) -> None:
        """Write the configuration of this node among all."""
        own = (
            f"base_port={self.group_port};gmcast.listen_addr=tcp://{self.group_address};"
            f"ist.recv_addr=127.0.0.1:{self.increment_port};gcache.size=16M;"
        )
        text = documented("galera")
        text = text.replace("gcomm://10.0.0.1,10.0.0.2,10.0.0.3", _group(nodes))
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
        """Start without waiting; ``--wsrep-new-cluster`` makes it the first node of a cluster."""
        with (self.folder / "log").open("ab") as log:
            self.process = self._run(log, *arguments)

    def restart(self, *arguments: str) -> None:
        """Start after a crash: find the position first, as Debian's service does, and get only what was missed."""
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
        """Until it has all data and takes part."""
        deadline = time.monotonic() + START_SECONDS
        while self.state() != "Synced":
            if time.monotonic() > deadline or not self.is_running():
                raise RuntimeError((self.folder / "log").read_text()[-20_000:])
            time.sleep(0.05)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def bootstrap(self) -> None:
        """Declare that this node, with those that it sees, is the cluster from now on, because the others are dead."""
        self.execute("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=1'")
        self.wait()

    def state(self) -> str:
        """As the node itself calls it, such as Synced; empty where it does not answer."""
        try:
            return str(self.execute("SHOW STATUS LIKE 'wsrep_local_state_comment'")[0][1])
        except pymysql.err.OperationalError:
            return ""

    def execute(self, *statements: str) -> tuple[tuple[object, ...], ...]:
        """Run statements as root; the rows of the last one."""
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return tuple(cursor.fetchall())

    def connect(self) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True, read_timeout=30)

    def url(self, database: str, *, options: str = "") -> str:
        return f"mysql://root@127.0.0.1:{self.port}/{database}{options}"

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def lose_data(self) -> None:
        """As a machine with a new disk; the next start takes everything over from another node."""
        shutil.rmtree(self.data)
        self.data.mkdir()
        if MINE:
            shutil.chown(self.data, **MINE)

    def stop(self) -> None:
        if self.process is None or not self.is_running():
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


class GaleraCluster:
    """Three nodes that run when this is entered."""

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="galera-"))
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
        """Start all on copies of the data of the first, which spares them to take it over."""
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

    def bring_back(self) -> None:
        """Start every node that is not running, one after the other, and wait until all take part."""
        for node in self.nodes:
            if not node.is_running():
                node.restart()
            node.wait()

    def heal(self) -> None:
        """Make it whole again, whatever has happened; where most nodes are gone, those that are left go on alone."""
        for node in self.nodes:
            if node.is_running() and node.state() == "Initialized":
                node.bootstrap()
        self.bring_back()

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            node.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _group(nodes: Iterable[GaleraNode]) -> str:
    return "gcomm://" + ",".join(node.group_address for node in nodes)
