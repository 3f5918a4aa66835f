"""Validated settings and documents."""

import json
from functools import lru_cache
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

Document = TypeVar("Document")

STRICT = ConfigDict(extra="forbid", strict=True)
"""``__pydantic_config__`` of the dataclasses that ``parse_document`` makes."""


class Settings(BaseModel):
    """Immutable settings with validated values; unknown keys, infinity and NaN are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def first_problem(error: ValidationError, settings: type[Settings]) -> str:
    """Return the first validation error of ``settings`` as one line that names the key."""
    problem = error.errors()[0]
    key = ".".join(map(str, problem["loc"]))
    message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}"
    if not key:
        # The error concerns several keys together; its message names them.
        return str(problem.get("ctx", {}).get("error", message))
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key!r}; allowed are {', '.join(_sibling_keys(problem['loc'], settings))}"
    if problem["type"] == "missing":
        return f"{key} is missing"
    if problem["type"] == "model_type":
        below = _sibling_keys((*problem["loc"], ""), settings)
        return f"{key}: expected the keys {', '.join(below)}, got {problem['input']!r}"
    return f"{key}: {message}, got {problem['input']!r}"


def parse_document(kind: type[Document], document: dict) -> Document:
    """Return the dataclass ``kind`` with the values of a JSON document, which must have the annotated types.

    Raises:
        ValueError: a value does not fit, or a key is missing or unknown; the message names the first such key.
    """
    try:
        return _parser(kind).validate_json(json.dumps(document))
    except ValidationError as error:
        raise ValueError(first_problem(error, Settings)) from None


@lru_cache
def _parser(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _sibling_keys(location: tuple[str | int, ...], settings: type) -> list[str]:
    for part in location[:-1]:
        # An integer is an index into a tuple of settings.
        settings = get_args(settings)[0] if isinstance(part, int) else settings.model_fields[part].annotation
    return list(settings.model_fields)
