"""The result of a decode, and its sums while it runs."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.archive.schema import JXL, LATENT, PIXELS, STANDARD
from pipeline.decode.video_muxing import VideoResult

LISTED_FAILURES = 1000
"""Failures that a result lists; further ones are only counted."""

_KINDS = {LATENT: "latents", STANDARD: "standard", JXL: "transcoded", PIXELS: "kept_pixels"}


@dataclass(frozen=True, slots=True)
class Failure:
    """An image that was not written, and the reason in one line."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class DecodeResult:
    """The result of a decode.

    Attributes:
        written: files written.
        latents: files of compressed images, decoded or, as `.mae`, copied.
        standard: files of images that a standard codec compressed, decoded.
        transcoded: files of JPEGs, restored byte for byte from JPEG XL.
        kept_pixels: files of kept pictures, written anew from JPEG XL with the same samples.
        originals: files of sources, copied byte for byte.
        bytes_written: bytes of all files.
        pixels: decoded pixels.
        failed: images that were not written.
        failures: the first of these, with reasons.
        losses: files by what they lack of the archive's image, most frequent first.
        instead: files in another format than the one asked for, by "FORMAT: REASON", likewise.
        seconds: from the start to the last file.
    """

    written: int
    latents: int
    standard: int
    transcoded: int
    kept_pixels: int
    originals: int
    bytes_written: int
    pixels: int
    failed: int
    failures: tuple[Failure, ...]
    losses: dict[str, int]
    instead: dict[str, int]
    seconds: float

    def to_dict(self) -> dict[str, object]:
        """The fields, and the speed computed from them."""
        return asdict(self) | {"megapixels_per_second": self.pixels / 1e6 / self.seconds if self.seconds else None}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one row: name, size and format of its file, or the reason why there is none.

    `instead` and `lost` are those of `pipeline.images.image_writer.Written`; `listed` holds the meta, or None, of
    an image of an ImageFolder whose metadata are written.
    """

    key: str
    status: str = ""
    payload_bytes: int = 0
    pixels: int = 0
    name: str = ""
    bytes_written: int = 0
    reason: str = ""
    form: str = ""
    instead: str = ""
    lost: tuple[str, ...] = ()
    listed: tuple[str | None, ...] = ()


class Totals:
    """Sums of outcomes."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = dict.fromkeys(
            (*("written", *_KINDS.values(), "originals"), "bytes_written", "pixels", "failed"), 0
        )
        self._failures: list[Failure] = []
        self._losses, self._instead = Counter[str](), Counter[str]()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        sums = self._sums
        if outcome.reason:
            sums["failed"] += 1
            if len(self._failures) < LISTED_FAILURES:
                self._failures.append(Failure(outcome.key, outcome.reason))
            return
        sums["written"] += 1
        sums[_KINDS.get(outcome.status, "originals")] += 1
        sums["bytes_written"] += outcome.bytes_written
        sums["pixels"] += outcome.pixels
        self._losses.update(outcome.lost)
        self._instead.update([outcome.instead] if outcome.instead else [])

    def add_video(self, written: VideoResult) -> None:
        """Count a video, as one image."""
        facts = (written.payload_bytes, written.pixels, written.key, written.bytes_written, written.reason)
        self.add(Outcome(written.key, LATENT, *facts))

    def result(self, seconds: float) -> DecodeResult:
        """The sums, with the failures in key order."""
        failures = tuple(sorted(self._failures, key=lambda failure: failure.key))
        losses, instead = dict(self._losses.most_common()), dict(self._instead.most_common())
        return DecodeResult(**self._sums, failures=failures, losses=losses, instead=instead, seconds=seconds)
