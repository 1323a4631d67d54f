"""Shrinks photographs and packs them into one small file, to carry to a GPU machine.

    python -m bench.pack IMAGES PACK.tar [--scale 0.65] [--most-mb 60]

The pack is a tar of JPEGs (4:4:4) under the images' own keys, at the highest JPEG quality that keeps it within the
limit. `bench.train_packed` learns from it.
"""

import argparse
import io
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pipeline.images.decode_rgb import decode_rgb
from pipeline.train.crops import SUFFIXES

QUALITIES = (97, 95, 93, 90, 86, 80)
MB = 1_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Shrink, choose the quality, write."""
    parser = argparse.ArgumentParser(prog="bench.pack", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("pack", type=Path, help="tar to write")
    parser.add_argument("--scale", type=float, default=0.65, help="factor by which images are shrunk")
    parser.add_argument("--most-mb", type=float, default=60.0, help="largest size in megabytes")
    options = parser.parse_args(argv)
    images = shrunk(options.images, options.scale)
    if not images:
        print(f"no images in {options.images} ({', '.join(SUFFIXES)})", file=sys.stderr)
        return 2
    for quality in QUALITIES:
        files = {key: as_jpeg(image, quality) for key, image in images.items()}
        size = sum(map(len, files.values())) + 1024 * (len(files) + 20)
        if size <= options.most_mb * MB:
            write(files, options.pack)
            print(f"{len(files)} images, JPEG quality {quality}, {options.pack.stat().st_size / MB:.1f} MB")
            return 0
    print(f"{options.images} does not fit into {options.most_mb} MB at --scale {options.scale}", file=sys.stderr)
    return 2


def shrunk(folder: Path, scale: float) -> dict[str, Image.Image]:
    """Every readable image of a folder, by key, shrunk by `scale`."""
    images = {}
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in SUFFIXES and (image := decode_rgb(file.read_bytes())) is not None:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            images[file.relative_to(folder).as_posix()] = image.resize(size, Image.Resampling.BICUBIC)
    return images


def as_jpeg(image: Image.Image, quality: int) -> bytes:
    """JPEG without chroma subsampling."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
    return buffer.getvalue()


def write(files: dict[str, bytes], pack: Path) -> None:
    """Write the tar atomically."""
    partial = pack.with_suffix(".partial")
    with tarfile.open(partial, "w") as tar:
        for key, data in files.items():
            member = tarfile.TarInfo(key)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    partial.rename(pack)


def read(pack: Path) -> dict[str, bytes]:
    """Key to bytes of everything in a pack."""
    with tarfile.open(pack) as tar:
        members = [(m.name, tar.extractfile(m)) for m in tar if m.isfile()]
        return {name: file.read() for name, file in members if file is not None}


if __name__ == "__main__":
    sys.exit(main())
