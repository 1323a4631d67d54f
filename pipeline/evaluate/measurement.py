"""One image measured: every codec's curve, and its smallest file at each floor. Runs in a worker process.

process starts  ->  begin(model folder)      loads the model, one thread
task            ->  measure(entry, plan)     Subject, or Skipped with a reason
"""

from dataclasses import dataclass

import torch

from model.codec import Codec
from model.core.picture import Picture
from model.core.target import Target
from pipeline.archive.shards import Rejection
from pipeline.encode.stages import load
from pipeline.evaluate.baseline_codecs import RIVALS, Ladder
from pipeline.evaluate.points import Pixels, Point, compare, to_rgb
from pipeline.evaluate.published import digest
from pipeline.images.image_reader import MAX_PIXELS
from pipeline.images.sandbox import Limits, shared
from pipeline.storage.base import Entry, Store

OURS = "maepress"
_READ_SECONDS, _MAX_BYTES = 60.0, 512 << 20
_codec: list[Codec] = []


@dataclass(frozen=True, slots=True)
class Plan:
    """How every image is measured.

    Attributes:
        source: where they are.
        qualities: of the model, ascending.
        floors: dB.
        max_pixels: of a larger image its middle is measured.
    """

    source: Store
    qualities: tuple[int, ...]
    floors: tuple[float, ...]
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured on an image.

    Attributes:
        key: of its source.
        digest: of the pixels that were measured.
        width: of these.
        height: of these.
        cropped: they are the middle of a larger image.
        source_bytes: of the source; of a cropped image in proportion to its pixels.
        points: a curve each codec.
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
        """Bytes at a floor, where a source is kept unless a file reaches the floor and is smaller."""
        found = self.floors[codec][number]
        return self.source_bytes if found is None else min(found, self.source_bytes)


@dataclass(frozen=True, slots=True)
class Skipped:
    """An object that is no image the codec codes, and why."""

    key: str
    reason: str


def begin(folder: str) -> None:
    """Make a process ready for `measure`."""
    torch.set_num_threads(1)
    _codec[:] = [Codec.load(folder)]


def measure(entry: Entry, plan: Plan) -> Subject | Skipped:
    """Measure one image."""
    read = read_pixels(entry, plan)
    if isinstance(read, Skipped):
        return read
    pixels, share = read
    height, width = pixels.shape[:2]
    ladders = {rival.name: Ladder(rival, pixels) for rival in RIVALS}
    points = {OURS: [press(pixels, quality)[0] for quality in plan.qualities]}
    points |= {rival.name: [ladders[rival.name].point(q) for q in rival.qualities] for rival in RIVALS}
    floors = {OURS: [_bytes_at(pixels, floor) for floor in plan.floors]}
    floors |= {name: [ladder.smallest(floor) for floor in plan.floors] for name, ladder in ladders.items()}
    size = max(1, round(entry.size * share))
    return Subject(entry.key, digest(pixels), width, height, share < 1, size, points, floors)


def read_pixels(entry: Entry, plan: Plan) -> tuple[Pixels, float] | Skipped:
    """RGB pixels of an object, as they are measured, and which share of the image that is."""
    limits = Limits.for_images(_READ_SECONDS, MAX_PIXELS, _MAX_BYTES)
    (loaded,) = load([entry], plan.source, shared(limits), MAX_PIXELS, _MAX_BYTES)
    if isinstance(loaded, Rejection):
        return Skipped(entry.key, loaded.reason)
    if loaded.reading.picture is None:
        return Skipped(entry.key, loaded.reading.keep or "not coded")
    whole = to_rgb(loaded.reading.picture.pixels)
    pixels = middle(whole, plan.max_pixels)
    return pixels, pixels.size / whole.size


def press(pixels: Pixels, quality: int) -> tuple[Point, Pixels]:
    """A point of this process's model, and what it decodes to."""
    return press_with(_codec[0], pixels, quality)


def press_with(codec: Codec, pixels: Pixels, quality: int) -> tuple[Point, Pixels]:
    """A point of a model, from a whole payload, and what that decodes to."""
    (payload,) = codec.compress([Picture(pixels)], quality)
    (decoded,) = codec.decompress([payload])
    return compare(quality, len(payload), pixels, decoded.pixels), decoded.pixels


def _bytes_at(pixels: Pixels, floor: float) -> int | None:
    (latents,) = _codec[0].analyse([Picture(pixels)], Target(min_psnr=floor))
    return len(_codec[0].coder.encode(latents)) if latents.met else None


def middle(pixels: Pixels, most: int) -> Pixels:
    """The middle of an image, of the same shape, with at most so many pixels."""
    height, width = pixels.shape[:2]
    if height * width <= most:
        return pixels
    factor = (most / (height * width)) ** 0.5
    return window(pixels, max(1, int(height * factor)), max(1, int(width * factor)), height // 2, width // 2)


def window(pixels: Pixels, height: int, width: int, row: int, column: int) -> Pixels:
    """A piece of an image, around a position as far as the borders allow."""
    top = min(max(0, row - height // 2), max(0, pixels.shape[0] - height))
    left = min(max(0, column - width // 2), max(0, pixels.shape[1] - width))
    return pixels[top : top + height, left : left + width]
