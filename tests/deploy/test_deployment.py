"""The production image, replayed without a container engine, and the files around it."""

import json
import re
import shlex
import signal
import subprocess
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from app.core.config.settings import Settings, load_settings
from tests.support.command import BUNDLED, served
from tests.support.dockerfile import Image, read_instructions
from tests.support.mariadb import free_port

ROOT = Path(__file__).resolve().parents[2]
KEY = "a-key-of-the-deployment-test"
STOP_SECONDS = 10

pytestmark = pytest.mark.timeout(300)  # the first installation of the image fetches packages


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(ROOT, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def environment(image: Image) -> dict[str, str]:
    """The image's environment with what an operator adds, on a loopback port."""
    return {**image.environment, **BUNDLED, "HOST": "127.0.0.1", "PORT": str(free_port()), "ADMIN_API_KEY": KEY}


def run(image: Image, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=image.workdir, env=environment, capture_output=True, text=True, check=False)


def is_healthy(image: Image, environment: dict[str, str]) -> bool:
    return run(image, image.health_command, environment).returncode == 0


def files_outside_data(image: Image) -> dict[Path, tuple[int, int]]:
    data = image.path("/app/data")
    paths = [path for path in image.root.rglob("*") if path != data and data not in path.parents]
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in paths}


@pytest.mark.slow
def test_the_image_serves_without_writing_outside_its_data_folder_and_stops_on_sigterm(image, environment, tmp_path):
    log, before = tmp_path / "log", files_outside_data(image)
    is_ready = partial(is_healthy, image, environment)

    with (
        served(image.command, image.workdir, environment, log, is_ready=is_ready) as server,
        httpx.Client(base_url=f"http://127.0.0.1:{environment['PORT']}", timeout=30) as client,
    ):
        refused = client.post("/countries/refresh")
        refreshed = client.post("/countries/refresh", headers={"X-API-Key": KEY})
        listed = client.get("/countries")
        server.terminate()
        server.wait(STOP_SECONDS)

    assert (refused.status_code, refreshed.status_code, listed.status_code) == (401, 200, 200)
    assert len(listed.json()) > 100
    assert "Application shutdown complete" in log.read_text()
    assert "Traceback" not in log.read_text()
    # After an orderly stop uvicorn raises the signal again, unless it is a container's first process.
    assert server.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert files_outside_data(image) == before


@pytest.mark.slow
def test_the_image_does_not_start_without_an_admin_key(image, environment):
    result = run(image, image.command, {**environment, "ADMIN_API_KEY": ""})

    assert result.returncode == 1
    assert result.stderr == "Wrong setting: ADMIN_API_KEY: is required when ENVIRONMENT=production\n"


@pytest.mark.slow
def test_the_health_check_fails_if_nothing_serves(image, environment):
    assert not is_healthy(image, environment)


@pytest.mark.slow
def test_railway_migrates_with_the_image_and_starts_the_same_command(image, environment):
    deploy = json.loads((ROOT / "railway.json").read_text())["deploy"]
    migrations = [run(image, shlex.split(command), environment) for command in deploy["preDeployCommand"]]

    assert [migration.returncode for migration in migrations] == [0]
    assert shlex.split(deploy["startCommand"]) == image.command
    assert deploy["healthcheckPath"] in image.health_command[-1]


def test_the_image_runs_as_a_numeric_user_and_listens_on_every_address():
    instructions = read_instructions(ROOT / "Dockerfile")
    variables = [pair for name, rest in instructions if name == "ENV" for pair in shlex.split(rest)]

    assert [rest for name, rest in instructions if name == "USER"] == ["10001:10001"]
    assert {"ENVIRONMENT=production", "HOST=0.0.0.0"} <= set(variables)


def test_railway_timeouts_are_numbers_and_outlast_the_stop_of_the_server():
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


def test_compose_sets_known_settings_and_requires_every_secret():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    app = services["app"]

    assert {name.lower() for name in app["environment"]} <= Settings.model_fields.keys()
    assert app["environment"]["ADMIN_API_KEY"].startswith("${ADMIN_API_KEY:?")
    assert app["environment"]["DATABASE_PASSWORD"].startswith("${DATABASE_PASSWORD:?")
    assert all("healthcheck" in services[name] for name in app["depends_on"])


def test_every_container_is_locked_down_and_limited():
    for name, service in yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].items():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert {"mem_limit", "pids_limit"} <= service.keys(), name


def test_every_image_is_named_by_digest_and_the_page_says_how_to_renew_each():
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
    stages = [rest.split() for name, rest in read_instructions(ROOT / "Dockerfile") if name == "FROM"]
    own = {"countries", *(stage[2] for stage in stages if len(stage) == 3)}
    images = {*(service["image"] for service in services), *(stage[0] for stage in stages)} - own
    renewed = re.findall(r"imagetools inspect (\S+)", (ROOT / "docs/deployment.md").read_text())

    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", image) for image in images), images
    assert {image.partition("@")[0] for image in images} == set(renewed)


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
