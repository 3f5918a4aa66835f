"""Base of typed settings."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings whose values are checked, cannot be changed afterwards, and refuse unknown keys, infinity and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
