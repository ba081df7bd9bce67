"""Facts about the service for schemathesis; named in schemathesis.toml."""

import json
from typing import Any

import schemathesis
from email_validator import SPECIAL_USE_DOMAIN_NAMES
from hypothesis import strategies

_LINES = "application/x-ndjson"


# Reserved domains (RFC 6761), which the service refuses; JSON Schema cannot exclude them.
_reserved = tuple(f".{domain}" for domain in SPECIAL_USE_DOMAIN_NAMES)
schemathesis.openapi.format(
    "email", strategies.emails().filter(lambda email: not f".{email.partition('@')[2]}".lower().endswith(_reserved))
)


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Describe the stream, whose lines are documents; OpenAPI 3.1 cannot."""
    stream = raw_schema["paths"]["/tracking/sms_documents/{ubid}/stream"]["post"]
    lines = {"type": "array", "items": {"$ref": "#/components/schemas/DocumentInput"}}
    stream["requestBody"]["content"] = {_LINES: {"schema": lines}}


@schemathesis.serializer(_LINES)
def to_lines(_context: Any, value: Any) -> bytes:
    """Write one JSON value per line."""
    return b"".join(json.dumps(line).encode() + b"\n" for line in (value if isinstance(value, list) else [value]))
