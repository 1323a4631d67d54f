"""The settings of a search for duplicates."""

from pydantic import BaseModel, ConfigDict, Field

DISTANCE = "bits of 64 in which the perceptual hashes of near duplicates differ at most; 0: equal hashes only"


class DuplicatesSettings(BaseModel):
    """Archive, distance of near duplicates, and number of groups to list."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    archive: str = Field(description="the archive (a folder or bucket prefix)")
    distance: int = Field(4, ge=0, le=10, description=DISTANCE)
    groups: int = Field(20, ge=0, description="groups of each kind to list, those with most bytes to save first")
