"""The base of all settings, which a site file is checked against."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SettingsModel(BaseModel):
    """Base of all settings: unknown names are errors, numbers are finite, and nothing changes after loading."""

    # Without the input: it may be a secret in the wrong place. A limit that is not a number is never passed.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)
