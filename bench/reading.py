"""Cost of an image in a training loop, decoded from JPEG or read as latents: `python -m bench.reading ARCHIVE SOURCE`.

ARCHIVE was encoded from SOURCE, a folder of JPEGs. Measured is processor time per image on one thread, the lowest of
several rounds, in one run for the same images: Pillow from the JPEG's bytes, payloads from the archive's rows, and a
cache on disk in random order. The cache's row adds the one-time cost of making it, and its bytes relative to the
JPEGs'.
"""

import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipeline.archive.archive import Archive
from pipeline.archive.reader import Row
from pipeline.archive.schema import LATENT, READER_COLUMNS
from pipeline.dataset.cache import LatentCache, write
from pipeline.dataset.samples import Content, Samples
from pipeline.dataset.torch_dataset import DECODED_AT_ONCE

ROUNDS, MOST = 3, 64
SIDE, SMALL = 224, 128


def least(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Processor seconds of the best round."""
    spent = []
    for _ in range(rounds):
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return min(spent)


def by_pillow(source: bytes, side: int | None = None, *, draft: bool = False) -> np.ndarray:
    image: Image.Image = Image.open(io.BytesIO(source))
    if draft and side is not None:
        image.draft("RGB", (side, side))  # decodes at 1/2, 1/4 or 1/8 if that is still large enough
    image = image.convert("RGB")
    return np.asarray(image if side is None else image.resize((side, side), Image.Resampling.BILINEAR))


def main() -> None:
    torch.set_num_threads(1)
    archive, source = Archive.open(sys.argv[1]), Path(sys.argv[2])
    rows: list[Row] = [
        row for batch in archive.scan(READER_COLUMNS) for row in batch.to_pylist() if row["status"] == LATENT
    ]
    rows = [rows[i] for i in np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int)]
    files = [(source / row["key"]).read_bytes() for row in rows]
    order = np.random.default_rng(0).permutation(len(rows)).tolist()
    found: dict[str, float] = {
        "Pillow: decode": least(lambda: [by_pillow(file) for file in files]),
        f"Pillow: decode, resize to {SIDE}": least(lambda: [by_pillow(file, SIDE) for file in files]),
        f"Pillow: draft, resize to {SMALL}": least(lambda: [by_pillow(file, SMALL, draft=True) for file in files]),
    }
    notes: dict[str, str] = {}

    def read(samples: Samples) -> None:
        for start in range(0, len(rows), DECODED_AT_ONCE):
            samples.arrays(rows[start : start + DECODED_AT_ONCE])

    contents: tuple[Content, ...] = ("sketch", "prefix", "latents", "image")
    for content in contents:
        samples = Samples(archive, content)
        samples.arrays(rows[:1])  # loads the model
        rounds = ROUNDS if content in ("sketch", "prefix") else 1
        found[f"archive: {content}"] = least(lambda samples=samples: read(samples), rounds)  # type: ignore[misc]
        if content == "image":
            continue
        with tempfile.TemporaryDirectory() as folder:
            grids = samples.grids(rows)
            write(folder, ((row["key"], {}, grid) for row, grid in zip(rows, grids, strict=True)), {})
            cache = LatentCache(folder)
            name = f"cache: {content}"
            found[name] = least(lambda cache=cache: [cache[number] for number in order])  # type: ignore[misc]
            share = cache.nbytes / sum(map(len, files))
            made = found[f"archive: {content}"] / len(rows) * 1e3
            notes[name] = f"once {made:.2f} ms per image to make; {share:.2f} x the JPEGs' bytes"
    base = found[f"Pillow: decode, resize to {SIDE}"]
    pixels = sum(row["width"] * row["height"] for row in rows)
    payloads = sum(len(row["payload"]) for row in rows)
    print(
        f"{len(rows)} images, {pixels / 1e6:.1f} MP, JPEG {sum(map(len, files)) / 1e6:.2f} MB, "
        f"payloads {payloads / 1e6:.2f} MB"
    )
    print(f"{'':32}{'ms per image':>14}{'MP/s per core':>15}{'speed':>8}")
    for name, seconds in found.items():
        ms, speed = seconds / len(rows) * 1e3, base / seconds
        print(f"{name:32}{ms:>12.3f}{pixels / 1e6 / seconds:>13.1f}{speed:>7.2f}x  {notes.get(name, '')}".rstrip())


if __name__ == "__main__":
    main()
