"""The steps of docs/deployment.md that need neither Docker, Railway nor root."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from app.core.config.settings import Settings, load_settings
from tests.support.command import BUNDLED, served
from tests.support.dockerfile import read_instructions
from tests.support.mariadb import PrivateMariaDB, free_port, is_installed

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/deployment.md").read_text()
UNIT = ROOT / "deploy/countries.service"
ANALYZE = shutil.which("systemd-analyze")
BIN = Path(sys.executable).parent


def part(heading: str) -> str:
    """The text of the page under a heading."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def variables(heading: str, *, changed: bool = False) -> dict[str, str]:
    """The variables of the env file under a heading; with the changes that a second one makes for another database."""
    found = [
        dict(line.strip().split("=", 1) for line in content.strip().splitlines())
        for content in re.findall(r"```env\n(.*?)```", part(heading), re.DOTALL)
    ]
    return {**found[0], **found[1]} if changed else found[0]


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return services


def unit() -> dict[str, list[str]]:
    """The settings of the systemd unit, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def serving(
    command: list[str], folder: Path, environment: dict[str, str]
) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """A command that serves, once the service is ready; its log is a file in the folder."""

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{environment['PORT']}/health/ready", timeout=10).is_success
        except httpx.TransportError:
            return False

    return served(command, folder, environment, folder / "log", is_ready=is_ready)


def do_afterwards(environment: dict[str, str], folder: Path) -> list[dict[str, Any]]:
    """Run the commands that the page lists for every deployment; return the answers."""
    (commands,) = re.findall(r"```sh\n(.*?)```", PAGE.partition("\n## ")[0], re.DOTALL)
    given = {**environment, "SERVICE": f"http://127.0.0.1:{environment['PORT']}"}
    lines = commands.replace("\ncurl", "\necho; curl")
    done = subprocess.run(["sh", "-ec", lines], env=given, cwd=folder, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def installed(folder: Path) -> Path:
    """Copy the project into a folder, with the virtual environment of these tests."""
    for name in ("app", "alembic"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "alembic.ini", folder)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(BIN / "python")
    (folder / ".venv/pyvenv.cfg").symlink_to(BIN.parent / "pyvenv.cfg")
    (folder / ".venv/lib").symlink_to(BIN.parent / "lib")
    return folder


# Railway


@pytest.fixture
def railway_mysql() -> Iterator[str]:
    """A database URL as Railway writes it."""
    server = PrivateMariaDB()
    try:
        server.execute("CREATE DATABASE railway", "CREATE USER railway@'%' IDENTIFIED BY 'pWd0123456789AbCd'")
        server.execute("GRANT ALL ON railway.* TO railway@'%'")
        yield f"mysql://railway:pWd0123456789AbCd@127.0.0.1:{server.port}/railway"
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not is_installed(), reason="MariaDB is not installed")
def test_railway_migrates_starts_and_refreshes_with_the_documented_variables(tmp_path: Path, railway_mysql: str):
    deploy = json.loads((ROOT / "railway.json").read_text())["deploy"]
    image = [
        pair for name, rest in read_instructions(ROOT / "Dockerfile") if name == "ENV" for pair in shlex.split(rest)
    ]
    documented = variables("Railway", changed=True)
    given = {name: value.replace("${{MySQL.MYSQL_URL}}", railway_mysql) for name, value in documented.items()}
    environment = {
        **dict(pair.split("=", 1) for pair in image),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "PORT": str(free_port()),
        **given,
        # Unlike on Railway: no network, and only loopback.
        "HOST": "127.0.0.1",
        **BUNDLED,
    }
    folder = installed(tmp_path)
    for command in deploy["preDeployCommand"]:
        subprocess.run(shlex.split(command), cwd=folder, env=environment, check=True, capture_output=True)

    with serving(shlex.split(deploy["startCommand"]), folder, environment) as server:
        is_ready, report, status = do_afterwards(environment, folder)
        server.send_signal(signal.SIGTERM)
        server.wait(deploy["drainingSeconds"])

    assert (is_ready["status"], report["total_countries"], status["total_countries"]) == ("ok", 250, 250)
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    assert any(line["message"].startswith("Refreshed 250 countries") for line in lines)
    assert {line["level"] for line in lines} == {"INFO"}


def test_railway_variables_are_settings_and_the_image_declares_no_volume():
    assert {name.lower() for name in variables("Railway")} <= Settings.model_fields.keys()
    assert variables("Railway")["DATABASE_URL"] == "${{Postgres.DATABASE_URL}}"
    assert variables("Railway", changed=True)["DATABASE_URL"] == "${{MySQL.MYSQL_URL}}"
    assert "VOLUME" not in [name for name, _ in read_instructions(ROOT / "Dockerfile")]


# systemd


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_unit_serves_from_a_fresh_folder_and_stops_in_time(tmp_path: Path):
    (tmp_path / "state").mkdir()
    (tmp_path / "opt").mkdir()
    folder, setting = installed(tmp_path / "opt"), unit()

    def here(text: str) -> str:
        return text.replace("/opt/countries", str(folder)).replace("/var/lib/countries", str(tmp_path / "state"))

    own = dict(pair.split("=", 1) for line in setting["Environment"] for pair in shlex.split(here(line)))
    environment = {"PATH": "/usr/bin:/bin", **own, **variables("systemd"), **BUNDLED, "PORT": str(free_port())}
    (command,) = setting["ExecStart"]

    with serving(shlex.split(here(command)), folder, environment) as server:
        is_ready, report, _ = do_afterwards(environment, folder)
        written = {path.name for path in folder.iterdir()}
        server.send_signal(signal.SIGTERM)
        code = server.wait(int(setting["TimeoutStopSec"][0]))

    assert (is_ready["status"], report["total_countries"]) == ("ok", 250)
    assert code in (0, -signal.SIGTERM)
    assert written == {"app", "alembic", "alembic.ini", ".venv", "log"}
    assert (tmp_path / "state/countries.db").is_file()
    assert all(line.startswith("{") for line in (folder / "log").read_text().splitlines())


@pytest.mark.slow
@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit_and_rates_it_as_locked_down(tmp_path: Path):
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/countries/.venv/bin/python", "/bin/true"))

    verified = subprocess.run([str(ANALYZE), "verify", copy], capture_output=True, text=True, check=False)
    # The threshold is ten times the exposure: 0 for a service that may do nothing, 100 for one that may do everything.
    exposed = [str(ANALYZE), "security", "--offline=true", "--threshold=20", "--no-pager", str(copy)]
    found = subprocess.run(exposed, capture_output=True, text=True, check=False)

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert found.returncode == 0, found.stdout


def test_unit_fits_the_documented_steps():
    setting, page = unit(), part("systemd")

    assert {name.lower() for name in variables("systemd")} <= Settings.model_fields.keys()
    assert setting["EnvironmentFile"][0] in page
    assert setting["WorkingDirectory"][0] in page
    assert f"cp {setting['WorkingDirectory'][0]}/deploy/{UNIT.name} /etc/systemd/system/" in page
    assert int(setting["TimeoutStopSec"][0]) > 10
    assert (setting["MemoryMax"], setting["LimitNOFILE"]) == (["1G"], ["8192"])
    assert "1 GB of memory and 8,192 open" in page
    assert "ProcSubset" not in setting  # would take /proc/stat away, and with it the figures of the process


# Docker Compose


def test_second_replica_equals_the_first_but_for_its_port():
    services = compose()
    first, second = services["app"], services["app2"]

    assert second == {**first, "profiles": ["replicas"], "ports": ["127.0.0.1:${SECOND_REPLICA_PORT:-8001}:8000"]}
    assert "profiles" not in first
    assert '`["127.0.0.1:8000", "127.0.0.1:8001"]`' in (ROOT / "docs/operations.md").read_text()


def test_replicas_profile_adds_only_what_two_replicas_need():
    services = compose()
    added = {name for name, service in services.items() if service.get("profiles") == ["replicas"]}

    assert added == {"app2", "haproxy", "valkey"}
    assert variables("Two replicas behind HAProxy") == {
        "COMPOSE_PROFILES": "mysql,replicas",
        "RATE_LIMIT_STORAGE": "valkey://valkey:6379/0",
    }


@pytest.mark.parametrize("name", ["mysql", "postgresql"])
def test_documented_env_file_starts_the_database_that_the_service_asks_for(name, monkeypatch, tmp_path):
    services, given = compose(), variables("Docker Compose", changed=name == "postgresql")
    started = {each for each, service in services.items() if given["COMPOSE_PROFILES"] in service.get("profiles", [])}
    monkeypatch.chdir(tmp_path)
    for variable, value in services["app"]["environment"].items():
        text = re.sub(r"\$\{(\w+)(?::[-?]([^}]*))?\}", lambda match: given.get(match[1], match[2] or ""), value)
        monkeypatch.setenv(variable, text)
    password = given["DATABASE_PASSWORD"]
    (secret,) = (
        value
        for variable, value in services[name]["environment"].items()
        if variable.endswith("_PASSWORD") and "$" in value
    )

    url = load_settings().database_url.get_secret_value()

    assert started == {name}
    assert url == f"{name}://countries:{password}@{name}/countries"
    assert secret == services["app"]["environment"]["DATABASE_PASSWORD"]
    waits = {"condition": "service_healthy", "required": False}
    assert services["app"]["depends_on"] == {"mysql": waits, "postgresql": waits}


def test_haproxy_defaults_fit_the_compose_services():
    services, text = compose(), (ROOT / "deploy/haproxy.cfg").read_text()
    (mounted,) = services["haproxy"]["volumes"]
    (published,) = services["haproxy"]["ports"]
    (taken,) = {*re.findall(r"bind \"\$\{LISTEN-:(\d+)\}\"", text)}

    assert mounted.split(":")[0] == "./deploy/haproxy.cfg"
    assert {*re.findall(r"\$\{REPLICA_\w+-(\w+):8000\}", text)} == services["haproxy"]["depends_on"].keys()
    assert published.endswith(f":{taken}")
    assert int(services["haproxy"]["stop_grace_period"].rstrip("s")) > int(*re.findall(r"hard-stop-after (\d+)s", text))


def test_every_env_setting_reaches_both_replicas_except_the_documented_fixed_ones():
    services = compose()
    # `environment` overrides env_file, so a value set there without ${...} is fixed.
    fixed = {name for name, value in services["app"]["environment"].items() if f"${{{name}:" not in value}

    assert [services[name]["env_file"] for name in ("app", "app2")] == [[{"path": ".env", "required": False}]] * 2
    (listed,) = re.findall(r"are fixed in `compose.yaml`: (.*?),\s+so that", part("Docker Compose"), re.DOTALL)
    assert fixed == set(re.findall("`([A-Z_]+)`", listed))
    assert services["app"]["ports"] == [f"127.0.0.1:${{PORT:-8000}}:{services['app']['environment']['PORT']}"]


def test_documented_env_file_has_every_variable_that_compose_requires():
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text()))
    given = variables("Docker Compose")

    assert given.keys() == asked
    assert len(given["ADMIN_API_KEY"]) >= 16


# Directly with Python


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_migrating_and_serving_without_the_command_line_works(tmp_path: Path):
    (block,) = re.findall(r"```sh\n(.*?)```", part("Directly with Python"), re.DOTALL)
    migrate, serve = (shlex.split(line) for line in block.splitlines())
    folder, port = installed(tmp_path), str(free_port())
    environment = {"PATH": f"{BIN}:{os.environ['PATH']}", "PORT": port, "ADMIN_API_KEY": "a-key-of-the-walkthrough"}
    environment |= BUNDLED

    subprocess.run(migrate, cwd=folder, env=environment, check=True, capture_output=True)
    with serving([*serve, "--port", port], folder, environment):
        is_ready, report, _ = do_afterwards(environment, folder)

    assert (is_ready["status"], report["total_countries"]) == ("ok", 250)
