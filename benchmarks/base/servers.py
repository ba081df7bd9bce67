"""The measured servers, each for the length of a block, on a free port of loopback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.base.answers import Answer, write_answers
from benchmarks.base.checkouts import HERE, Checkout
from benchmarks.base.processes import SERVER_CORES, running, wait_until_listening
from tests.support.mariadb import free_port
from tests.support.service import environment

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@dataclass(frozen=True)
class Server:
    """A server that listens."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def service(
    folder: Path, *, checkout: Checkout = HERE, cores: set[int] = SERVER_CORES, **settings: object
) -> Iterator[Server]:
    """``python -m app serve`` with these settings; by default without request log and data."""
    port = free_port()
    quiet = {"refresh_on_start": "never", "log_requests": "off", "port": port}
    env = checkout.environment(**{**quiet, **settings})
    with running(checkout.command("serve"), folder, env, cores=cores) as process:
        wait_until_listening(process, port)
        yield Server(f"http://127.0.0.1:{port}", process)


@contextmanager
def _application(name: str, folder: Path, *, cores: set[int] = SERVER_CORES, **variables: object) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.base.serve", name, str(port)]
    with running(command, folder, environment(**variables), cores=cores) as process:
        wait_until_listening(process, port)
        yield Server(f"http://127.0.0.1:{port}", process)


@contextmanager
def plain_uvicorn(folder: Path, **settings: object) -> Iterator[Server]:
    """The service as ``uvicorn app.main:app`` runs it, with uvicorn's own protocol."""
    quiet: dict[str, Any] = {"refresh_on_start": "never", "log_requests": "off"}
    with _application("app.main:app", folder, **{**quiet, **settings}) as server:
        yield server


@contextmanager
def bare(folder: Path, answers: Mapping[str, Answer], *, cores: set[int] = SERVER_CORES) -> Iterator[Server]:
    """The bare ASGI function with these responses by path and query."""
    file = folder / "answers"
    write_answers(file, answers)
    with _application("benchmarks.contenders.bare:app", folder, cores=cores, answers_file=file) as server:
        yield server


@contextmanager
def plain_orm(folder: Path, database_url: str) -> Iterator[Server]:
    """The tutorial's way to list countries, on the same database."""
    with _application("benchmarks.contenders.plain_orm:app", folder, database_url=database_url) as server:
        yield server


_NGINX_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
{user}
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /countries {{ alias {folder}/countries.json; types {{ }} default_type application/json; }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, body: bytes) -> Iterator[Server]:
    """Nginx that serves this body from disk as ``/countries``; needs ``NGINX``."""
    port = free_port()
    (folder / "countries.json").write_bytes(body)
    # Without root's rights its worker could not read our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX_CONFIGURATION.format(folder=folder, port=port, user=user))
    command = [str(NGINX), "-p", str(folder), "-c", str(configuration), "-e", str(folder / "nginx-error.log")]
    with running(command, folder, environment(), cores=SERVER_CORES) as process:
        wait_until_listening(process, port)
        yield Server(f"http://127.0.0.1:{port}", process)
