"""Measure one image: every codec's rate-distortion curve, and its smallest file at each PSNR floor."""

from dataclasses import dataclass

from model.codec import Codec
from model.core.boundary import Fault, attempt
from model.core.picture import Picture
from model.core.target import Target
from pipeline.archive.receipt import Rejection
from pipeline.encode.stages import FATAL, load
from pipeline.evaluate.baseline_codecs import BASELINE_CODECS, Ladder
from pipeline.evaluate.points import Pixels, Point, compare, to_rgb
from pipeline.evaluate.published import digest
from pipeline.images.limits import MAX_PIXELS, Limits
from pipeline.images.sandbox import Sandbox
from pipeline.storage.base import Entry, Store

OURS = "maepress"
_READ_SECONDS, _MAX_BYTES = 60.0, 512 << 20


@dataclass(frozen=True, slots=True)
class MeasurementPlan:
    """How every image is measured.

    Attributes:
        source: the store that holds the images.
        qualities: qualities of the model, ascending.
        floors: PSNR floors in dB.
        max_pixels: of a larger image only the middle is measured.
    """

    source: Store
    qualities: tuple[int, ...]
    floors: tuple[float, ...]
    max_pixels: int


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """Measurements of one image.

    Attributes:
        key: key of the source.
        digest: SHA-256 of the measured pixels.
        width: width of the measured pixels.
        height: height of the measured pixels.
        cropped: whether they are the middle of a larger image.
        source_bytes: size of the source; of a cropped image in proportion to its pixels.
        points: rate-distortion curve of each codec.
        floors: for each codec the bytes at each of the plan's floors, None where no file reaches it.
    """

    key: str
    digest: str
    width: int
    height: int
    cropped: bool
    source_bytes: int
    points: dict[str, list[Point]]
    floors: dict[str, list[int | None]]

    def stored(self, codec: str, number: int) -> int:
        """Bytes stored at a floor: of the file that reaches it, or of the source where that is smaller."""
        found = self.floors[codec][number]
        return self.source_bytes if found is None else min(found, self.source_bytes)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object that cannot be measured, and the reason."""

    key: str
    reason: str


class Measurer:
    """Measures images with one model; owns a sandbox for decoding them. Close it, or use it in a `with` block."""

    def __init__(self, codec: Codec, plan: MeasurementPlan) -> None:
        self._codec, self._plan = codec, plan
        self._sandbox = Sandbox(Limits.for_images(_READ_SECONDS, MAX_PIXELS, _MAX_BYTES))

    def __enter__(self) -> "Measurer":
        return self

    def __exit__(self, *_: object) -> None:
        self._sandbox.close()

    def measure(self, entry: Entry) -> MeasuredImage | Skipped:
        """Measure one image with every codec; one that fails in any way is skipped."""
        measured = attempt(lambda: self._measure(entry), passes=FATAL)
        return Skipped(entry.key, measured.reason) if isinstance(measured, Fault) else measured

    def _measure(self, entry: Entry) -> MeasuredImage | Skipped:
        read = self.read_pixels(entry)
        if isinstance(read, Skipped):
            return read
        pixels, share = read
        height, width = pixels.shape[:2]
        ladders = {other.name: Ladder(other, pixels) for other in BASELINE_CODECS}
        points = {OURS: [self.encode(pixels, quality)[0] for quality in self._plan.qualities]}
        points |= {other.name: [ladders[other.name].point(q) for q in other.qualities] for other in BASELINE_CODECS}
        floors = {OURS: [self._bytes_at(pixels, floor) for floor in self._plan.floors]}
        floors |= {name: [ladder.smallest(floor) for floor in self._plan.floors] for name, ladder in ladders.items()}
        size = max(1, round(entry.size * share))
        return MeasuredImage(entry.key, digest(pixels), width, height, share < 1, size, points, floors)

    def read_pixels(self, entry: Entry) -> tuple[Pixels, float] | Skipped:
        """RGB pixels of an object, cropped to the plan's size, and the share of the image that they are."""
        (loaded,) = load([entry], self._plan.source, self._sandbox, MAX_PIXELS, _MAX_BYTES)
        if isinstance(loaded, Rejection):
            return Skipped(entry.key, loaded.reason)
        if loaded.reading.picture is None:
            return Skipped(entry.key, loaded.reading.keep or "not coded")
        whole = to_rgb(loaded.reading.picture.pixels)
        pixels = middle(whole, self._plan.max_pixels)
        return pixels, pixels.size / whole.size

    def encode(self, pixels: Pixels, quality: int) -> tuple[Point, Pixels]:
        """Encode and decode at a quality: size and fidelity, and the decoded pixels."""
        return round_trip(self._codec, pixels, quality)

    def _bytes_at(self, pixels: Pixels, floor: float) -> int | None:
        (latents,) = self._codec.analyse([Picture(pixels)], Target(min_psnr=floor))
        return len(self._codec.coder.encode(latents)) if latents.met else None


def round_trip(codec: Codec, pixels: Pixels, quality: int) -> tuple[Point, Pixels]:
    """Encode to a whole payload and decode it: size and fidelity, and the decoded pixels."""
    (payload,) = codec.compress([Picture(pixels)], quality)
    (decoded,) = codec.decompress([payload])
    return compare(quality, len(payload), pixels, decoded.pixels), decoded.pixels


def middle(pixels: Pixels, most: int) -> Pixels:
    """The middle of an image, in its aspect ratio, with at most `most` pixels."""
    height, width = pixels.shape[:2]
    if height * width <= most:
        return pixels
    factor = (most / (height * width)) ** 0.5
    return window(pixels, max(1, int(height * factor)), max(1, int(width * factor)), height // 2, width // 2)


def window(pixels: Pixels, height: int, width: int, row: int, column: int) -> Pixels:
    """A rectangle of an image, centred on a position as far as the borders allow."""
    top = min(max(0, row - height // 2), max(0, pixels.shape[0] - height))
    left = min(max(0, column - width // 2), max(0, pixels.shape[1] - width))
    return pixels[top : top + height, left : left + width]
