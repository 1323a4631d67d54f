"""The result of a search for duplicates."""

from dataclasses import asdict, dataclass

from pipeline.duplicates.groups import Sums

LISTED_IMAGES = 100
"""Images of a group that a result names; further ones are only counted."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One image of a group; for the fields see `pipeline.archive.schema.IMAGES`."""

    key: str
    width: int
    height: int
    source_bytes: int
    payload_bytes: int
    source_sha256: str
    status: str
    kept: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are the same, or nearly.

    Attributes:
        images: number of them.
        source_bytes: bytes of all sources but the largest.
        payload_bytes: bytes of all payloads but the largest; one that rows share counts once.
        spread: bits in which the perceptual hash of one of those named differs at most from the first one's; 0 for
            exact copies.
        copies: the images, largest first; at most `LISTED_IMAGES`.
    """

    images: int
    source_bytes: int
    payload_bytes: int
    spread: int
    copies: tuple[Copy, ...]


@dataclass(frozen=True, slots=True)
class DuplicatesResult:
    """The result of a search for duplicates.

    Attributes:
        version: of the archive.
        rows: images of the archive.
        without_hash: images that have no perceptual hash: those of an earlier maepress, files whose pixels were not
            read, and flat pictures. They have no near duplicates.
        distance: bits in which near duplicates differ at most.
        exact: sums of images whose sources have the same bytes.
        near: sums of images that are nearly the same and not all the same bytes.
        exact_groups: the groups with most bytes to save.
        near_groups: likewise.
        seconds: from start to end.
    """

    version: int
    rows: int
    without_hash: int
    distance: int
    exact: Sums
    near: Sums
    exact_groups: tuple[Group, ...]
    near_groups: tuple[Group, ...]
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """The fields as JSON values."""
        return asdict(self)
