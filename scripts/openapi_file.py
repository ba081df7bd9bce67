"""Writes the OpenAPI document of the routes to app/service/openapi.json, which the service sends."""

import json
from typing import Any

from app.core.config.settings import Settings
from app.core.telemetry.log import LogLines
from app.main import create_app
from app.service.docs import DOCUMENT


def text_of(document: dict[str, Any]) -> str:
    """The document as the file has it: indented, so that a change of the contract is a readable diff."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


if __name__ == "__main__":
    app = create_app(Settings(_env_file=None), lines=LogLines(None, str))
    DOCUMENT.write_text(text_of(app.openapi()), encoding="utf-8")
