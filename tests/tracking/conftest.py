"""Test data: each module has a JSON file of the same name beside it."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Any:
    """The data of the test module, read for each test, so that it may change them."""
    return json.loads(Path(request.path).with_suffix(".json").read_text(encoding="utf-8"))
