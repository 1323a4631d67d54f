"""Settings of status, history, restore, vacuum and compact."""

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    archive: str = Field(description="the archive (a folder or bucket prefix)")


class HistorySettings(_Settings):
    """How much of the past."""

    versions: int = Field(50, ge=1, description="latest versions to list")


class RestoreSettings(_Settings):
    """Back to when."""

    version: int = Field(ge=0, description="version of the archive to go back to, as `maepress history` lists it")


class VacuumSettings(_Settings):
    """How much of the past is kept."""

    hours: float = Field(
        168.0, ge=1, description="files that no version of the last so many hours needs are removed; older versions go"
    )
    dry_run: bool = Field(False, description="only say what would be removed")


class CompactSettings(_Settings):
    """How large shards should be."""

    shard_mib: int = Field(64, ge=1, le=4096, description="MiB of a shard to aim at; those under half of it are joined")


class StatusSettings(_Settings):
    """How much of the history."""

    runs: bool = Field(False, description="list the latest runs, too: what each was asked for, did and took")
    versions: int = Field(10, ge=0, description="latest versions to list")
