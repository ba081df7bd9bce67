"""What several routes say in the OpenAPI document, which ``scripts/openapi_file.py`` generates."""

from typing import Any, Final

TITLE: Final = "Country Data & Currency Exchange API"


def links(*operation_ids: str, **parameters: str) -> dict[str, Any]:
    """The ``links`` of an answer: the operations that take parts of it, and as which parameters."""
    return {operation_id: {"operationId": operation_id, "parameters": parameters} for operation_id in operation_ids}
