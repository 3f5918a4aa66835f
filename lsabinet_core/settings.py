"""Base of typed settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings whose values are checked, cannot be changed afterwards, and refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
