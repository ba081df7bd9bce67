"""Table models that validate: on construction and on assignment."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, create_model
from sqlmodel import SQLModel


class Validated(SQLModel):
    """Base of tables whose objects are always valid.

    SQLModel does not validate where ``table=True``, because SQLAlchemy makes objects of rows without arguments. It does
    so past ``__init__`` and ``__setattr__``, so both can validate what our own code passes; reading rows costs nothing.

    A twin of the table validates: a plain pydantic model with the same fields, built once for each class. Neither the
    class nor its objects hold state for it, so threads can't interfere.
    """

    def __init__(self, **values: Any) -> None:
        """Make an object, or raise pydantic's ValidationError."""
        table = type(self)
        columns = {name: value for name, value in values.items() if name not in table.__sqlmodel_relationships__}
        checked = twin(table).model_validate(columns)
        super().__init__(**{**values, **dict(checked)})

    @classmethod
    def model_validate(cls, obj: Any, *, update: Mapping[str, Any] | None = None, **options: Any) -> Self:
        """Make an object from a mapping or another object; SQLModel would start with an object without values."""
        values = {**obj, **(update or {})} if isinstance(obj, Mapping) else obj
        return cls(**{**dict(twin(cls).model_validate(values, **options)), **(update or {})})

    def __setattr__(self, name: str, value: Any) -> None:
        if name in type(self).model_fields:
            plain = twin(type(self))
            # An object without values is enough: fields are checked one by one, and none looks at another.
            checked = plain.__pydantic_validator__.validate_assignment(plain.model_construct(), name, value)
            value = getattr(checked, name)
        super().__setattr__(name, value)


@cache
def twin(table: type[SQLModel]) -> type[BaseModel]:
    """The plain model with the fields of a table."""
    fields: Any = {name: (field.annotation, field) for name, field in table.model_fields.items()}
    config = ConfigDict(extra="forbid", validate_assignment=False)
    return create_model(f"{table.__name__}Values", __config__=config, **fields)
