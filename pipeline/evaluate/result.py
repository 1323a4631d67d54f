"""The result of an evaluation, and its JSON and CSV forms."""

import csv
import io
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.archive.model_name import named
from pipeline.evaluate.curves import Delta
from pipeline.evaluate.examples import View
from pipeline.evaluate.measurement import MeasuredImage, Skipped
from pipeline.evaluate.points import Point
from pipeline.evaluate.published import Published
from pipeline.evaluate.speed import Speed


@dataclass(frozen=True, slots=True)
class Floor:
    """Total bytes if each image is the smallest file that reaches a PSNR, or its source if that is smaller.

    Attributes:
        codec: name of the codec.
        floor: PSNR in dB.
        stored: bytes of all files.
        source: bytes of all sources.
        kept: number of images whose source is kept: no file reaches the floor, or the one that does is not smaller.
    """

    codec: str
    floor: float
    stored: int
    source: int
    kept: int

    @property
    def saved(self) -> float:
        """Share of the sources' bytes that is saved, 0..1."""
        return 1 - self.stored / self.source


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model compared with other codecs.

    Attributes:
        images: URL of the source.
        model: the model, as given in the settings.
        fingerprint: fingerprint of the model.
        name: what the model is called; empty if it has no name.
        learned_from: how many of the measured images are, by name and size, among those that the model learned from.
        card: model card in Markdown.
        listed: number of objects in the source, without empty ones.
        seed: seed of the sample.
        skipped: objects of the sample that could not be measured.
        measured: measurements of all other images, in key order.
        curves: mean curve of each codec, ours first.
        published: published curves for exactly these images, or None.
        deltas: BD-rates of ours against each other codec.
        floors: bytes at each floor, by floor and codec.
        speeds: speed of each codec, ours first; empty if the images have disappeared meanwhile.
        shown_quality: quality of the model in `views` and `speeds`.
        views: example images, best first, then the worst.
        versions: library versions of the other codecs.
        seconds: duration of the evaluation.
    """

    images: str
    model: str
    fingerprint: str
    name: str
    learned_from: int
    card: str
    listed: int
    seed: int
    skipped: tuple[Skipped, ...]
    measured: tuple[MeasuredImage, ...]
    curves: dict[str, list[Point]]
    published: Published | None
    deltas: dict[str, Delta]
    floors: tuple[Floor, ...]
    speeds: tuple[Speed, ...]
    shown_quality: int
    views: tuple[View, ...]
    versions: dict[str, str]
    seconds: float

    @property
    def title(self) -> str:
        """The model, by its name and its fingerprint."""
        return named(self.name, self.fingerprint)

    @property
    def off_grid(self) -> int:
        """How many images were measured beside the grid of the codec that they come from."""
        return sum(image.off_grid for image in self.measured)

    @property
    def skipped_by_reason(self) -> dict[str, int]:
        """Number of skipped objects by reason, most frequent first."""
        return dict(Counter(skip.reason for skip in self.skipped).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Everything except pixels, as JSON values."""
        return {
            "images": self.images,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "name": self.name,
            "learned_from": self.learned_from,
            "listed": self.listed,
            "measured": len(self.measured),
            "off_grid": self.off_grid,
            "seed": self.seed,
            "skipped": self.skipped_by_reason,
            "bd_rate": {name: asdict(delta) for name, delta in self.deltas.items()},
            "floors": [asdict(floor) | {"saved": floor.saved} for floor in self.floors],
            "speed": [asdict(speed) for speed in self.speeds],
            "curves": {name: [asdict(point) for point in curve] for name, curve in self.curves.items()},
            "published": asdict(self.published) if self.published else None,
            "shown": [{"key": v.choice.image.key, "why": v.choice.why, "ratio": v.choice.ratio} for v in self.views],
            "versions": self.versions,
            "seconds": self.seconds,
            "by_image": [asdict(image) for image in self.measured],
        }

    def points_csv(self) -> str:
        """CSV with a row for each point of each image."""
        rows = [
            (name, image.key, point.quality, point.bpp, point.psnr, point.ms_ssim, point.ssimulacra2)
            for image in self.measured
            for name, points in image.points.items()
            for point in points
        ]
        return _csv(("codec", "key", "quality", "bpp", "psnr", "ms_ssim", "ssimulacra2"), rows)

    def floors_csv(self) -> str:
        """CSV with a row for the bytes of each image at each floor; empty where no file reaches the floor."""
        floors = sorted({floor.floor for floor in self.floors})
        rows = [
            (name, image.key, floor, image.source_bytes, size)
            for image in self.measured
            for name, sizes in image.floors.items()
            for floor, size in zip(floors, sizes, strict=True)
        ]
        return _csv(("codec", "key", "floor", "source_bytes", "bytes"), rows)


def _csv(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()
