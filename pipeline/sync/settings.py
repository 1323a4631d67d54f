"""The settings of a sync."""

from pydantic import Field

from pipeline.encode.settings import EncodeSettings


class SyncSettings(EncodeSettings):
    """The settings of an encode, and the limits on retiring, renewing and adapting."""

    retire_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="rows whose source is gone are retired unless they are more than this share of those that "
        "include, exclude and releases leave to the source; 0 keeps all, 1 trusts the source",
    )
    repress_objects: int | None = Field(
        None, ge=1, description="with repress: largest number of rows to compress again per run, oldest first"
    )
    repress_minutes: float | None = Field(
        None, gt=0, description="with repress: minutes after the start when no more of them are begun"
    )
    adapt_nights: int = Field(
        0, ge=0, description="nights between trainings of the codec on the source, before compressing; 0 never"
    )
    adapt_minutes: float = Field(30.0, gt=0, description="with adapt-nights: minutes of training")
    adapt_margin: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="with adapt-nights: the new model is used if it saves this share of the rate on held-out images",
    )
    adapt_workers: int = Field(2, ge=1, description="with adapt-nights: DDP workers")
    dry_run: bool = Field(False, description="only report what would be done")
