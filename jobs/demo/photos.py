"""The demo's images: photographs from the wheels of scikit-image and scikit-learn, cut and scaled into about 220 files.

    python -m jobs.demo.photos FOLDER --count 40    # some of them, from all subjects, for the tutorial

The files are the same every time: a photograph's name seeds its crops. There are also files that a real bucket has: a
16-bit scan, a CMYK print file, an upload that broke off.
"""

import argparse
import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
import sklearn
from PIL import Image

SKIMAGE = Path(skimage.__file__).parent / "data"
SKLEARN = Path(sklearn.__file__).parent / "datasets" / "images"
SUBJECTS: dict[str, tuple[Path, ...]] = {
    "people": (SKIMAGE / "astronaut.png", SKIMAGE / "camera.png"),
    "animals": (SKIMAGE / "chelsea.png",),
    "places": (SKLEARN / "china.jpg", SKIMAGE / "rocket.jpg"),
    "things": (
        SKIMAGE / "coffee.png",
        SKIMAGE / "coins.png",
        SKIMAGE / "motorcycle_left.png",
        SKIMAGE / "motorcycle_right.png",
    ),
    "nature": (SKLEARN / "flower.jpg", SKIMAGE / "grass.png", SKIMAGE / "gravel.png", SKIMAGE / "brick.png"),
    "science": (
        SKIMAGE / "hubble_deep_field.jpg",
        SKIMAGE / "ihc.png",
        SKIMAGE / "moon.png",
        SKIMAGE / "retina.jpg",
        SKIMAGE / "cell.png",
    ),
}
CUTS = 12
"""Files per photograph."""
SMALLEST, LARGEST = 160, 640
"""Shortest and longest side of a file in pixels."""
FORMATS = ("jpeg-95", "jpeg-90", "png", "jpeg-85", "webp-90", "jpeg-75")


@dataclass(frozen=True, slots=True)
class DemoFile:
    """One object of the demo's bucket."""

    key: str
    data: bytes


def demo_files() -> Iterator[DemoFile]:
    """All files of the demo, under nested prefixes, the same every time."""
    for subject, paths in SUBJECTS.items():
        for path in paths:
            with Image.open(path) as photo:
                photo.load()
                yield from _cuts(subject, path.stem, photo if photo.mode == "L" else photo.convert("RGB"))
    yield from _awkward()


def _cuts(subject: str, name: str, photo: Image.Image) -> Iterator[DemoFile]:
    """Random crops of a photograph at random sizes, in each of the formats in turn."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    for n in range(CUTS):
        width, height = (int(side * rng.uniform(0.6, 1.0)) for side in photo.size)
        left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
        piece = photo.crop((left, top, left + width, top + height))
        # Scaled down by at least a fifth, so that compression artefacts of the photograph do not limit the gain.
        scale = min(0.8, LARGEST / max(piece.size)) * rng.uniform(0.7, 1.0)
        scale = max(scale, min(1.0, SMALLEST / min(piece.size)))
        piece = piece.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)
        kind = FORMATS[n % len(FORMATS)]
        yield DemoFile(
            f"{2021 + n % 4}/{subject}/{name}-{n:02d}.{kind.split('-')[0].replace('jpeg', 'jpg')}", _encode(piece, kind)
        )


def _encode(image: Image.Image, kind: str) -> bytes:
    """A file of one of `FORMATS`."""
    name, _, quality = kind.partition("-")
    buffer = io.BytesIO()
    if quality:
        image.save(buffer, name, quality=int(quality))
    else:
        image.save(buffer, name)
    return buffer.getvalue()


def _awkward() -> Iterator[DemoFile]:
    """Other files that a real bucket has."""
    with Image.open(SKIMAGE / "coffee.png") as file:
        coffee = file.convert("RGB").resize((420, 280))
    with Image.open(SKIMAGE / "astronaut.png") as file:
        portrait = file.convert("RGB").resize((320, 320))
    with Image.open(SKIMAGE / "logo.png") as file:
        logo = file.convert("RGBA").resize((250, 250))
    rows, columns = np.mgrid[-1:1:320j, -1:1:320j]
    portrait.putalpha(Image.fromarray((255 * np.clip(3 - 3 * np.hypot(rows, columns), 0, 1)).astype(np.uint8)))
    yield DemoFile("mixed/cut-out/portrait.png", _encode(portrait, "png"))
    yield DemoFile("mixed/cut-out/logo.png", _encode(logo, "png"))
    yield DemoFile("mixed/print/coffee-cmyk.jpg", _encode(coffee.convert("CMYK"), "jpeg-90"))
    scan = Image.fromarray(np.asarray(coffee.convert("L"), dtype=np.uint16) * 257)
    yield DemoFile("mixed/scan/coffee-16bit.png", _encode(scan, "png"))
    whole = _encode(coffee, "jpeg-90")
    yield DemoFile("mixed/upload/broken-off.jpg", whole[: len(whole) // 3])
    yield DemoFile("mixed/upload/not-an-image.jpg", b"<html><body>504 Gateway Timeout</body></html>\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Write some of the files to a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.demo.photos", description="write photographs to try maepress with"
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=40, help="number of photographs, roughly")
    options = parser.parse_args(argv)
    photos = [file for file in demo_files() if not file.key.startswith("mixed/")]
    for file in photos[:: max(1, len(photos) // options.count)]:
        place = options.folder / file.key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.data)


if __name__ == "__main__":
    main()
