"""The settings of status, history, restore, vacuum, compact and replicate."""

from pydantic import BaseModel, ConfigDict, Field


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    archive: str = Field(description="the archive (a folder or bucket prefix)")


class HistorySettings(_Settings):
    """Archive and number of versions to list."""

    versions: int = Field(50, ge=1, description="latest versions to list")


class RestoreSettings(_Settings):
    """Archive and version to restore."""

    version: int = Field(ge=0, description="version of the archive to go back to, as `maepress history` lists it")


class VacuumSettings(_Settings):
    """Archive and retention of old versions."""

    hours: float = Field(
        168.0,
        ge=1,
        le=1_000_000,
        description="hours for which versions are kept: files that only older versions need are removed",
    )
    dry_run: bool = Field(False, description="only report what would be removed")


class CompactSettings(_Settings):
    """Archive and size of its shards."""

    shard_mib: int = Field(64, ge=1, le=4096, description="MiB per shard to aim at; shards below half of it are joined")


class ReplicateSettings(_Settings):
    """Archive, and the place of its second copy."""

    dest: str = Field(description="the second copy: an empty folder or bucket prefix, or a replica of this archive")
    prune: bool = Field(
        False,
        description="remove from the copy what the archive no longer has, after a vacuum for example; the copy then "
        "has no older versions",
    )


class StatusSettings(_Settings):
    """Archive and details to report."""

    runs: bool = Field(False, description="list the latest runs, too: settings, results and time of each")
    versions: int = Field(10, ge=0, description="latest versions to list")
