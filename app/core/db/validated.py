"""Table models that validate: on construction and on assignment."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, create_model
from sqlmodel import SQLModel


class Validated(SQLModel):
    """Base of tables whose objects are always valid.

    SQLModel does not validate where ``table=True``: SQLAlchemy has to make
    objects of rows, field by field, without arguments. It does that past
    ``__init__`` and ``__setattr__``, so both can validate what our own code
    passes, and reading rows costs nothing.

    A twin of the table validates: a plain pydantic model with the same fields,
    built once for each class. Neither the class nor its objects hold state for
    it, so threads can't interfere.
    """

    def __init__(self, **values: Any) -> None:
        """Make an object.

        Raises:
            pydantic.ValidationError: A value is invalid or missing.
        """
        super().__init__(**_checked(type(self), values))

    @classmethod
    def model_validate(  # type: ignore[override]  # SQLModel spells Self as a type variable of its own
        cls,
        obj: Any,
        *,
        strict: bool | None = None,
        from_attributes: bool | None = None,
        context: dict[str, Any] | None = None,
        update: dict[str, Any] | None = None,
    ) -> Self:
        """Make an object from a mapping or another object; SQLModel would start with an object without values."""
        values = {**obj, **(update or {})} if isinstance(obj, Mapping) else obj
        checked = twin(cls).model_validate(values, strict=strict, from_attributes=from_attributes, context=context)
        return cls(**{**dict(checked), **(update or {})})

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields:
            value = _checked_field(type(self), name, value)
        super().__setattr__(name, value)


@cache
def twin(table: type[SQLModel]) -> type[BaseModel]:
    """The plain model with the fields of a table."""
    fields: Any = {name: (field.annotation, field) for name, field in table.model_fields.items()}
    config = ConfigDict(extra="forbid", validate_assignment=False)
    return create_model(f"{table.__name__}Values", __config__=config, **fields)


def _checked(table: type[SQLModel], values: Mapping[str, Any]) -> dict[str, Any]:
    columns = {name: value for name, value in values.items() if name not in table.__sqlmodel_relationships__}
    checked = twin(table).model_validate(columns)
    return {**values, **{name: getattr(checked, name) for name in table.model_fields}}


def _checked_field(table: type[SQLModel], name: str, value: Any) -> Any:
    plain = twin(table)
    # An object without values is enough: fields are checked one by one, and none looks at another.
    checked = plain.__pydantic_validator__.validate_assignment(plain.model_construct(), name, value)
    return getattr(checked, name)
