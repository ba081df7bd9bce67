"""The base of the models of request bodies."""

from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

_MOST_MISTAKES: Final = 20_000
"""5000 documents with every field wrong have 15,000."""


class RequestBody(BaseModel):
    """A request body, or a part of one: unknown fields are refused, and so is a body with too many mistakes.

    pydantic builds a dict per error: 900,000 unknown fields, in a body of 8 MiB, took 1 GB and blocked all other
    requests for six seconds.
    """

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_too_many_mistakes(cls, body: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(body)
        except ValidationError as error:
            if error.error_count() <= _MOST_MISTAKES:
                raise
        raise ValueError(f"has more than {_MOST_MISTAKES} mistakes")
