"""Validation problems as one sentence per field."""

from typing import Any, Final

from pydantic import ValidationError

_MOST_PROBLEMS: Final = 100


def describe_problems(problems: Any) -> dict[str, str]:
    """Turn pydantic's list of problems into one sentence per field, for the first 100 problems."""
    found: dict[str, str] = {}
    for problem in problems[:_MOST_PROBLEMS]:
        found.setdefault(_field(problem["loc"]), describe(problem))
    return found


def describe_invalid(error: ValidationError, *, what: str) -> dict[str, str]:
    """The same for a model that was checked outside of a request; ``what`` names it where no field is to blame."""
    return describe_problems([{**problem, "loc": (what, *problem["loc"])} for problem in error.errors()])


def _field(loc: tuple[int | str, ...]) -> str:
    # The first part is the place: query, path, body. Malformed JSON is reported at ("body", <position>).
    within = loc[1:]
    if any(isinstance(part, str) for part in within):
        return ".".join(map(str, within))
    return str(loc[0]) if loc else "request"


_SENTENCES: Final = {
    "missing": "is required",
    "json_invalid": "is not valid JSON",
    "model_attributes_type": "must be an object",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "list_type": "must be a list",
    "string_type": "must be text",
    "string_unicode": "contains an unpaired surrogate",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_type": "must be a whole number",
    "int_parsing_size": "has too many digits",
    "timezone_aware": "must be a time with a zone, such as 2026-11-21T09:17:00Z",
    "datetime_parsing": "must be a time, such as 2026-11-21T09:17:00Z",
    "date_from_datetime_parsing": "must be a day, such as 2026-11-21",
    "datetime_from_date_parsing": "must be a time, such as 2026-11-21T09:17:00Z",
    "finite_number": "must be a finite number",
    "decimal_parsing": "must be a number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} characters",
    "too_long": "must have at most {max_length} characters",
    "extra_forbidden": "is not a field of this request",
    "value_error": "{error}",
}
"""By pydantic's name of a problem; for others its own sentence is used."""


def describe(problem: Any) -> str:
    """Turn one of pydantic's problems into a sentence without the name of the field."""
    # Limits of floats are floats: 300.0 is shown as 300.
    given = problem.get("ctx", {}).items()
    context = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in given}
    if problem["type"] in ("enum", "literal_error"):
        return f"must be one of: {context['expected']}".replace("'", "").replace(" or ", ", ")
    if problem["type"] == "string_too_short" and context["min_length"] == 1:
        return "must not be blank"
    if problem["type"] == "too_short" and context["field_type"] == "List":
        return (
            f"must have at least {context['min_length']} entries" if context["min_length"] > 1 else "must not be empty"
        )
    if problem["type"] == "too_long" and context["field_type"] == "List":
        return f"must have at most {context['max_length']} entries"
    sentence = _SENTENCES.get(problem["type"])
    return sentence.format(**context) if sentence else str(problem["msg"])
