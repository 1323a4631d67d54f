"""The settings of an erasure."""

from pydantic import BaseModel, ConfigDict, Field

from pipeline.archive.key_choice import DESCRIPTION as KEYS


class ForgetSettings(BaseModel):
    """Archive and keys of an erasure."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    keys: str | None = Field(
        None, min_length=1, description=f"what is erased: {KEYS}; empty: only finish erasures that were interrupted"
    )
    yes: bool = Field(False, description="erase without asking")
    dry_run: bool = Field(False, description="only report what would be erased")
