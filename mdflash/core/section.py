"""What every section of a YAML file is: a strict, frozen model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A mapping whose keys are all known; fields that are left out take their defaults.

    Validators are built at the first use, so a section inside another costs nothing of its own.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, defer_build=True)
