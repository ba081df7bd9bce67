"""A generated client and the recipes of docs/clients.md, against a running service."""

# The generated package exists only while these tests run.
# mypy: disable-error-code="import-not-found"
# ruff: noqa: PLC0415

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.support.service import ServiceProcess

PAGE = (Path(__file__).resolve().parents[2] / "docs/clients.md").read_text()
KEY = "a key that is long enough for anybody"
NODE = shutil.which("node")

pytestmark = [pytest.mark.engines("sqlite"), pytest.mark.slow]


def blocks(language: str, url: str = "") -> list[str]:
    page = PAGE.replace("http://localhost:8000", url)
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.fixture(scope="module")
async def url(sqlite_template: Path, tmp_path_factory: Any) -> AsyncIterator[str]:
    """A running service after one refresh."""
    folder = tmp_path_factory.mktemp("service")
    database = f"sqlite:///{shutil.copy(sqlite_template, folder / 'countries.db')}"
    # The tests block the event loop while a client runs, so a fake source could not respond.
    sources = {"country_sources": "bundled", "rate_sources": "bundled"}
    async with ServiceProcess(folder, database_url=database, admin_api_key=KEY, **sources) as started:
        async with httpx.AsyncClient(timeout=60) as client:
            refreshed = await client.post(f"{started.url}/countries/refresh", headers={"X-API-Key": KEY})
        assert refreshed.status_code == 200, refreshed.text
        yield started.url


def run(command: list[str], folder: Path) -> str:
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ADMIN_API_KEY": KEY}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100)  # noqa: PLW1510
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def folder(url: str, tmp_path_factory: Any) -> Path:
    """A folder in which the page's commands have generated a client."""
    folder: Path = tmp_path_factory.mktemp("client")
    (config,), (command,) = blocks("yaml"), blocks("sh", url)
    (folder / "openapi-python-client.yaml").write_text(config)
    output = run(["sh", "-c", command], folder)
    assert output == "Generating countries_client\n", "the generator warns"
    return folder


@pytest.fixture
def generated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)


def test_generated_client_has_every_operation(folder: Path, url: str):
    paths = httpx.get(f"{url}/openapi.json").json()["paths"].values()
    operations = {operation["operationId"] for path in paths for operation in path.values()}

    made = {path.stem for path in folder.glob("countries_client/api/*/*.py")} - {"__init__"}
    assert made == operations


def test_generated_client_reads_countries_rates_and_errors(generated, url: str):
    from countries_client import AuthenticatedClient
    from countries_client.api.countries import get_country, get_image, list_countries, refresh_countries
    from countries_client.api.rates import convert
    from countries_client.models import CountrySort

    headers = {"auth_header_name": "X-API-Key", "prefix": "", "timeout": httpx.Timeout(60)}
    with AuthenticatedClient(base_url=url, token=KEY, **headers) as client:
        report = refresh_countries.sync(client=client)
        listed = list_countries.sync(client=client, region="europe", sort=CountrySort.POPULATION_DESC, limit=2)
        parts = list_countries.sync(client=client, currency="GHS", fields="name,population")
        ghana = get_country.sync(client=client, name="Ghana")
        converted = convert.sync(client=client, from_="GHS", to="GHS", amount=5)
        image = get_image.sync(client=client)
        missing = get_country.sync_detailed(client=client, name="Atlantis")
        refused = list_countries.sync(client=client, limit=0)

    assert (report.total_countries, report.updated) == (250, 250)
    assert [country.name for country in listed] == ["Russia", "Germany"]
    assert [part.to_dict() for part in parts] == [{"name": "Ghana", "population": ghana.population}]
    assert (ghana.alpha2_code, ghana.currency_code, ghana.last_refreshed_at.tzname()) == ("GH", "GHS", "UTC")
    assert (converted.result, converted.rate) == (5, 1)
    assert image.payload.read(8) == b"\x89PNG\r\n\x1a\n"
    assert (missing.status_code, missing.parsed.error) == (404, "Country not found")
    assert refused.to_dict() == {"error": "Validation failed", "details": {"limit": "must be at least 1"}}


def test_generated_client_manages_accounts_and_sends_a_stream(generated, url: str):
    from countries_client import AuthenticatedClient
    from countries_client.api.tracking import put_transfer, stream_documents
    from countries_client.api.users import create_user, delete_user, get_user
    from countries_client.models import AddressInput, AddressInputCountry, Role, TransferCreate, UserCreate
    from countries_client.types import File

    street = AddressInput(street="12 Ridge Road", city="Accra", country=AddressInputCountry.GH)
    ada = UserCreate(fname="Ada", lname="Mensah", email="ada@example.com", password="correct horse battery")
    ada.role, ada.addresses = Role.EDITOR, [street]
    lines = BytesIO(b'{"SMScount":1,"uniqueId":"A000000001","data":{}}\n')
    with AuthenticatedClient(base_url=url, token=KEY, prefix="", auth_header_name="X-API-Key") as client:
        created = create_user.sync(client=client, body=ada)
        taken = create_user.sync(client=client, body=ada)
        stale = delete_user.sync(created.id, client=client, if_match='"stale"')
        known = get_user.sync(created.id, client=client)
        gone = delete_user.sync_detailed(created.id, client=client)
        batch = put_transfer.sync(client=client, body=TransferCreate(UUID(int=1), 1, 1, "batch.csv", "batch.csv"))
        streamed = stream_documents.sync(batch.ubid, client=client, body=File(payload=lines))

    assert (created.role, created.addresses[0].city) == (Role.EDITOR, "Accra")
    assert taken.error == "E-mail taken"
    assert stale.error == "Precondition failed"
    assert known == created
    assert gone.status_code == 204
    assert (streamed.lines, streamed.batches) == (1, 1)


@pytest.mark.parametrize("number", [0, 1])
def test_python_recipe_prints_what_the_page_shows(folder: Path, url: str, number: int):
    assert run([sys.executable, "-c", blocks("python", url)[number]], folder) == blocks("text")[number]


@pytest.mark.skipif(NODE is None, reason="Node is not installed")
def test_javascript_recipe_prints_what_the_page_shows(tmp_path: Path, url: str):
    recipe = ["--input-type=module", "--eval", *blocks("javascript", url)]
    assert run([str(NODE), *recipe], tmp_path) == blocks("text")[-1]
