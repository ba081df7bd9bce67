"""What runs in production: the image, replayed without a container engine, and the files around it."""

import json
import re
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
import yaml

from app.core.config.settings import Settings, load_settings
from tests.support.dockerfile import Image, read_instructions

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-key-of-the-deployment-test"
START_SECONDS, STOP_SECONDS = 30, 10

# The first installation fetches packages.
slow = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(ROOT, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def environment(image: Image) -> dict[str, str]:
    """The image's own environment and what an operator adds, on a port and an address of this machine only."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    added = {"HOST": "127.0.0.1", "PORT": port, "COUNTRY_SOURCES": "bundled", "RATE_SOURCES": "bundled"}
    return {**image.environment, **added, "ADMIN_API_KEY": KEY}


def run(image: Image, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=image.workdir, env=environment, capture_output=True, text=True, timeout=START_SECONDS, check=False
    )


def is_healthy(image: Image, environment: dict[str, str]) -> bool:
    return run(image, image.health_command, environment).returncode == 0


@contextmanager
def started(image: Image, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The image's command, once its own health check says that it is ready."""
    with (
        log.open("wb") as output,
        subprocess.Popen(image.command, cwd=image.workdir, env=environment, stdout=output, stderr=output) as server,
    ):
        try:
            deadline = time.monotonic() + START_SECONDS
            while not is_healthy(image, environment):
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield server
        finally:
            server.kill()


def request(environment: dict[str, str], method: str, path: str, **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", int(environment["PORT"]), timeout=30)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def files_outside_data(image: Image) -> dict[Path, tuple[int, int]]:
    data = image.path("/app/data")
    paths = [path for path in image.root.rglob("*") if path != data and data not in path.parents]
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in paths}


@slow
@pytest.mark.slow
def test_the_image_serves_without_writing_outside_its_data_folder_and_stops_on_sigterm(image, environment, tmp_path):
    log = tmp_path / "log"
    before = files_outside_data(image)

    with started(image, environment, log) as server:
        refused, _ = request(environment, "POST", "/countries/refresh")
        refreshed, _ = request(environment, "POST", "/countries/refresh", **{"X-API-Key": KEY})
        listed, countries = request(environment, "GET", "/countries")
        server.terminate()
        server.wait(STOP_SECONDS)

    assert (refused, refreshed, listed) == (401, 200, 200)
    assert len(json.loads(countries)) > 100
    assert "Application shutdown complete" in log.read_text()
    assert "Traceback" not in log.read_text()
    # Having stopped in good order, uvicorn ends by the signal itself, unless it is a container's first process.
    assert server.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert files_outside_data(image) == before


@slow
@pytest.mark.slow
def test_the_image_does_not_start_without_an_admin_key(image, environment):
    result = run(image, image.command, {**environment, "ADMIN_API_KEY": ""})

    assert result.returncode == 1
    assert result.stderr == "Wrong setting: ADMIN_API_KEY: is required when ENVIRONMENT=production\n"


@slow
@pytest.mark.slow
def test_the_health_check_fails_where_nothing_serves(image, environment):
    assert not is_healthy(image, environment)


@slow
@pytest.mark.slow
def test_railway_migrates_with_the_image_and_then_starts_what_the_image_starts(image, environment):
    deploy = json.loads((ROOT / "railway.json").read_text())["deploy"]
    migrations = [run(image, shlex.split(command), environment) for command in deploy["preDeployCommand"]]

    assert [migration.returncode for migration in migrations] == [0]
    assert shlex.split(deploy["startCommand"]) == image.command
    assert deploy["healthcheckPath"] in image.health_command[-1]


def test_the_image_runs_as_a_numbered_user_on_every_address_in_production():
    instructions = read_instructions(ROOT / "Dockerfile")
    variables = [pair for name, rest in instructions if name == "ENV" for pair in shlex.split(rest)]

    assert [rest for name, rest in instructions if name == "USER"] == ["10001:10001"]
    assert {"ENVIRONMENT=production", "HOST=0.0.0.0"} <= set(variables)


def test_railway_gets_its_times_as_numbers_and_longer_than_the_server_takes_to_stop():
    deploy = json.loads((ROOT / "railway.json").read_text())["deploy"]

    assert isinstance(deploy["healthcheckTimeout"], int)
    assert isinstance(deploy["drainingSeconds"], int)
    assert deploy["drainingSeconds"] > STOP_SECONDS


def test_the_build_context_holds_exactly_what_the_dockerfile_copies():
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copies = [rest.split()[:-1] for name, rest in read_instructions(ROOT / "Dockerfile") if name == "COPY"]
    copied = [source for sources in copies if not sources[0].startswith("--from") for source in sources]

    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / source).exists() for source in copied)


def test_compose_sets_only_settings_that_exist():
    app = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["app"]

    assert {name.lower() for name in app["environment"]} <= Settings.model_fields.keys()


def test_compose_asks_for_every_secret_and_locks_the_service_down():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    app, mysql = services["app"], services["mysql"]

    assert app["environment"]["ADMIN_API_KEY"].startswith("${ADMIN_API_KEY:?")
    assert "${MYSQL_PASSWORD:?" in app["environment"]["DATABASE_URL"]
    assert mysql["environment"]["MYSQL_PASSWORD"].startswith("${MYSQL_PASSWORD:?")
    assert (app["read_only"], app["cap_drop"], app["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert app["depends_on"] == {"mysql": {"condition": "service_healthy"}}
    assert "healthcheck" in mysql


def test_env_example_names_every_setting_with_its_default(tmp_path, monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    defaults = re.findall(r"^# ([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    env_file = tmp_path / "env"
    env_file.write_text("\n".join(f"{name}={value}" for name, value in defaults))

    without_default = {name for name, field in Settings.model_fields.items() if field.default in (None, ())}
    assert sorted(name.lower() for name, _ in defaults) == sorted(Settings.model_fields)
    assert {name.lower() for name, value in defaults if not value} == without_default
    assert load_settings(_env_file=env_file) == load_settings(_env_file=None)
