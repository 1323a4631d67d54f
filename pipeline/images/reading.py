"""The two outcomes of reading an image file: a valid image, or a rejection."""

from dataclasses import dataclass

from model.core.picture import Picture


@dataclass(frozen=True, slots=True)
class Reading:
    """A valid image.

    Attributes:
        source_format: Pillow's name in lower case ("jpeg", "png" ...).
        width: in pixels, as decoded (as in the header, if it was not decoded).
        height: in pixels.
        picture: for the codec, or None when the source is kept as it is.
        keep: why the source is kept as it is, one of a few fixed texts; None when there is a
            picture.
        phash: perceptual hash of the picture (`pipeline.images.perceptual_hash`); None without
            one, and for a picture that is flat.
    """

    source_format: str
    width: int
    height: int
    picture: Picture | None = None
    keep: str | None = None
    phash: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A source that cannot become a row.

    Attributes:
        stage: where it failed: "fetch", "read" or "encode".
        reason: one line.
    """

    stage: str
    reason: str
