"""The receipt of a finished unit of work: its shard, its rejections, and counts, for the driver."""

import re
from dataclasses import dataclass

from pipeline.archive.shards.shard_writer import Shard
from pipeline.images.formats.codec_names import MAE


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version of an object that could not become a row.

    Attributes:
        key: of the object.
        etag: of its bytes.
        stage: where it failed: "fetch", "read", "encode", "write" or "outage" (see
            `pipeline.archive.schema`).
        reason: one line.
    """

    key: str
    etag: str
    stage: str
    reason: str


def general(reason: str) -> str:
    """A reason for counting: without its numbers, which differ from object to object."""
    text = re.sub(r"^\d+ bytes are more than \d+$", "larger than the limit", reason)
    return re.sub(r"\d+", "N", text)[:80]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The result of one unit: small, as it travels from a worker to the driver.

    Attributes:
        unit: the unit's number in the plan.
        add: the shard written, None when no row is left.
        remove: path of the shard that `add` replaces (copy on write), None for new keys.
        rejections: objects that could not become rows.
        retired: rows removed because their source is gone.
        rows: rows compressed or kept in this unit; rows copied from `remove` do not count.
        latents: of these, rows whose status is latent.
        codecs: rows whose image is compressed, as (codec, number); those of the model are `latents`.
        transcoded: of these, rows whose status is jxl.
        kept_pixels: of these, rows whose status is pixels.
        kept: rows whose source is kept without loss, transcoded or not, as (reason, number).
        source_bytes: bytes of the sources of `rows`.
        payload_bytes: bytes of the payloads of `rows`.
        pixels: width times height, summed over those `rows` whose pixels were decoded.
    """

    unit: int
    add: Shard | None = None
    remove: str | None = None
    rejections: tuple[Rejection, ...] = ()
    retired: int = 0
    rows: int = 0
    latents: int = 0
    codecs: tuple[tuple[str, int], ...] = ()
    transcoded: int = 0
    kept_pixels: int = 0
    kept: tuple[tuple[str, int], ...] = ()
    source_bytes: int = 0
    payload_bytes: int = 0
    pixels: int = 0

    @property
    def standard(self) -> int:
        """Rows that a standard codec compressed."""
        return sum(count for codec, count in self.codecs if codec != MAE)
