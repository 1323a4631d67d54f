"""What an evaluation found, and the same as plain data."""

import csv
import io
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.evaluate.curves import Delta
from pipeline.evaluate.examples import View
from pipeline.evaluate.measurement import Skipped, Subject
from pipeline.evaluate.points import Point
from pipeline.evaluate.published import Published
from pipeline.evaluate.speed import Speed


@dataclass(frozen=True, slots=True)
class Floor:
    """Bytes of all images when each is the smallest file that reaches a PSNR, or its source where that is smaller.

    Attributes:
        codec: its name.
        floor: dB.
        stored: bytes.
        source: bytes of the sources.
        kept: images whose source is kept, because no file reaches the floor or none that does is smaller.
    """

    codec: str
    floor: float
    stored: int
    source: int
    kept: int

    @property
    def saved(self) -> float:
        """Share of the source's bytes that is saved, 0..1."""
        return 1 - self.stored / self.source


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A model beside other codecs.

    Attributes:
        images: URL of the source.
        model: as it was asked for.
        fingerprint: of the model.
        card: Markdown that the model says about itself.
        listed: objects in the source, empty ones left out.
        seed: of the sample.
        skipped: objects of the sample that were no images to measure.
        subjects: what was measured, in order of the keys.
        curves: mean curve of each codec, ours first.
        published: curves that others published for just these images, or None.
        deltas: ours against each other codec.
        floors: by floor, then by codec.
        speeds: ours first; empty where images went away meanwhile.
        shown_quality: of the model in `views` and `speeds`.
        views: best images first, then the worst.
        versions: of the other codecs' libraries.
        seconds: that it took.
    """

    images: str
    model: str
    fingerprint: str
    card: str
    listed: int
    seed: int
    skipped: tuple[Skipped, ...]
    subjects: tuple[Subject, ...]
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
    def skipped_by_reason(self) -> dict[str, int]:
        """How many objects were left out, by why; most frequent first."""
        return dict(Counter(skip.reason for skip in self.skipped).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Everything but pixels, as JSON can hold it."""
        return {
            "images": self.images,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "listed": self.listed,
            "measured": len(self.subjects),
            "seed": self.seed,
            "skipped": self.skipped_by_reason,
            "bd_rate": {name: asdict(delta) for name, delta in self.deltas.items()},
            "floors": [asdict(floor) | {"saved": floor.saved} for floor in self.floors],
            "speed": [asdict(speed) for speed in self.speeds],
            "curves": {name: [asdict(point) for point in curve] for name, curve in self.curves.items()},
            "published": asdict(self.published) if self.published else None,
            "shown": [{"key": v.choice.subject.key, "why": v.choice.why, "ratio": v.choice.ratio} for v in self.views],
            "versions": self.versions,
            "seconds": self.seconds,
            "by_image": [asdict(subject) for subject in self.subjects],
        }

    def points_csv(self) -> str:
        """Every point of every image, a line each."""
        rows = [
            (name, subject.key, point.quality, point.bpp, point.psnr, point.ms_ssim)
            for subject in self.subjects
            for name, points in subject.points.items()
            for point in points
        ]
        return _csv(("codec", "key", "quality", "bpp", "psnr", "ms_ssim"), rows)

    def floors_csv(self) -> str:
        """Bytes of every image at every floor, a line each; empty where no file of the codec reaches it."""
        floors = sorted({floor.floor for floor in self.floors})
        rows = [
            (name, subject.key, floor, subject.source_bytes, size)
            for subject in self.subjects
            for name, sizes in subject.floors.items()
            for floor, size in zip(floors, sizes, strict=True)
        ]
        return _csv(("codec", "key", "floor", "source_bytes", "bytes"), rows)


def _csv(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()
