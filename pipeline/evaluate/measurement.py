"""Measure one image: every codec's rate-distortion curve, and its smallest file at each PSNR floor."""

from dataclasses import dataclass

from model.codec import Codec
from model.core.boundary import Fault, attempt
from model.core.picture import Picture
from model.core.target import Target
from pipeline.archive.receipt import Rejection
from pipeline.encode.stages import FATAL, Loaded, load
from pipeline.evaluate.baseline_codecs import BASELINE_CODECS, Ladder
from pipeline.evaluate.points import Pixels, Point, compare, to_rgb
from pipeline.evaluate.published import digest
from pipeline.images.limits import MAX_PIXELS, Limits
from pipeline.images.sandbox.sandbox import Sandbox
from pipeline.storage.base import Entry, Store

OURS = "maepress"
OFF_GRID = 5
"""Rows and columns that are left out at the top and the left of a source in a lossy format.

A codec that encodes its own result again on the same grid of blocks, near the same quality, repeats its own rounding:
a JPEG comes back at 55 dB. That says nothing about the codec, and so much of its curve is of that kind that BD-rates
shift by tens of percent. An odd number of pixels away from the grid, curves are as smooth as those of any pixels.
"""
LOSSLESS = frozenset({"png", "tiff", "bmp", "gif", "ppm", "qoi"})
"""Formats, by Pillow's names, whose pixels are not on the grid of a codec; as far as a format can tell."""
_GRID = 64
"""The largest blocks of all four codecs."""
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
        off_grid: whether `OFF_GRID` rows and columns were left out, as the source is in a lossy format.
        source_bytes: size of the source; of a cropped image in proportion to its pixels.
        points: rate-distortion curve of each codec.
        floors: for each codec the bytes at each of the plan's floors, None where no file reaches it.
    """

    key: str
    digest: str
    width: int
    height: int
    cropped: bool
    off_grid: bool
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
        loaded = self._load(entry)
        if isinstance(loaded, Skipped):
            return loaded
        read = self._part(loaded)
        pixels = read.pixels
        height, width = pixels.shape[:2]
        ladders = {other.name: Ladder(other, pixels) for other in BASELINE_CODECS}
        points = {OURS: [self.encode(pixels, quality)[0] for quality in self._plan.qualities]}
        points |= {other.name: [ladders[other.name].point(q) for q in other.qualities] for other in BASELINE_CODECS}
        floors = {OURS: [self._bytes_at(pixels, floor) for floor in self._plan.floors]}
        floors |= {name: [ladder.smallest(floor) for floor in self._plan.floors] for name, ladder in ladders.items()}
        size, found = max(1, round(len(loaded.source) * read.share)), digest(pixels)
        return MeasuredImage(entry.key, found, width, height, read.cropped, read.off_grid, size, points, floors)

    def read_pixels(self, entry: Entry) -> "MeasuredPart | Skipped":
        """The RGB pixels of an object that are measured."""
        loaded = self._load(entry)
        return loaded if isinstance(loaded, Skipped) else self._part(loaded)

    def _load(self, entry: Entry) -> Loaded | Skipped:
        """An object whose pixels can be measured."""
        (loaded,) = load([entry], self._plan.source, self._sandbox, MAX_PIXELS, _MAX_BYTES)
        if isinstance(loaded, Rejection):
            return Skipped(entry.key, loaded.reason)
        if loaded.reading.picture is None:
            return Skipped(entry.key, loaded.reading.keep or "not coded")
        return loaded

    def _part(self, loaded: Loaded) -> "MeasuredPart":
        assert loaded.reading.picture is not None
        lossy = loaded.reading.source_format not in LOSSLESS
        return measured_part(to_rgb(loaded.reading.picture.pixels), self._plan.max_pixels, lossy=lossy)

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


@dataclass(frozen=True, eq=False, slots=True)
class MeasuredPart:
    """The pixels of an image that are measured.

    Attributes:
        pixels: uint8 RGB `[h, w, 3]`.
        share: the share of the image that they are, above 0 and at most 1.
        cropped: whether they are the middle of a larger image.
        off_grid: whether they begin `OFF_GRID` pixels beside the grid of the source's codec.
    """

    pixels: Pixels
    share: float
    cropped: bool
    off_grid: bool


def measured_part(whole: Pixels, most: int, *, lossy: bool) -> MeasuredPart:
    """At most `most` pixels of the middle of an image; off the grid of its codec if it comes from a lossy format."""
    height, width = whole.shape[:2]
    if not lossy or min(height, width) <= 2 * OFF_GRID:
        pixels = middle(whole, most)
        return MeasuredPart(pixels, pixels.size / whole.size, pixels.size < whole.size, False)
    inner = whole[OFF_GRID:, OFF_GRID:]
    rows, columns = middle(inner, most).shape[:2]
    top, left = ((n - part) // 2 // _GRID * _GRID for n, part in zip(inner.shape, (rows, columns), strict=False))
    pixels = inner[top : top + rows, left : left + columns]
    return MeasuredPart(pixels, pixels.size / whole.size, pixels.size < inner.size, True)


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
