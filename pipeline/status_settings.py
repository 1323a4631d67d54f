"""What a status can be told."""

from pydantic import BaseModel, ConfigDict, Field


class StatusSettings(BaseModel):
    """Which archive, and how much of its history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    runs: bool = Field(False, description="list the latest runs, too: what each was asked for, did and took")
    versions: int = Field(10, ge=0, description="latest versions to list")
