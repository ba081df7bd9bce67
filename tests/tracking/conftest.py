"""What the tests of this folder share: each module has its data in a JSON file with its name beside it."""

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def data(request: pytest.FixtureRequest) -> Any:
    """The data of the test module, read anew, so that a test may change it."""
    return json.loads(Path(request.path).with_suffix(".json").read_text(encoding="utf-8"))
