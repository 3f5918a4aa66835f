"""Base class of validated settings."""

from typing import get_args

from pydantic import BaseModel, ConfigDict, ValidationError


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


def _sibling_keys(location: tuple[str | int, ...], settings: type) -> list[str]:
    for part in location[:-1]:
        # An integer is an index into a tuple of settings.
        settings = get_args(settings)[0] if isinstance(part, int) else settings.model_fields[part].annotation
    return list(settings.model_fields)
