"""The demo of the codec alone: one photograph as `.mae` files, written and read by Pillow with maepress's plugin.

`astronaut.webp` is a portrait of Eileen Collins by NASA, in the public domain.
"""

import time
from pathlib import Path

import numpy as np
from PIL import Image

import model.pillow_plugin
from jobs.framework.output import Output
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.monitoring.formatting import size

PHOTO = Path(__file__).with_name("astronaut.webp")
QUALITIES = (20, 40, 55)


def run(folder: Path, output: Output) -> None:
    """Compress the photograph to several qualities, open each file, and print what became of it.

    Args:
        folder: where the files go; made if it is missing.
        output: gets the table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(PHOTO) as file:
        photo = file.convert("RGB")
    photo.save(folder / "astronaut.png")
    source = np.asarray(photo)
    model.pillow_plugin.use("base")
    rows: list[tuple[str | float, ...]] = []
    for quality in QUALITIES:
        path = folder / f"astronaut-{quality}.mae"
        photo.save(path, quality=quality)
        started = time.perf_counter()
        with Image.open(path) as opened:
            pixels = np.asarray(opened)
        seconds = time.perf_counter() - started
        row = size(path.stat().st_size), round(psnr(source, pixels), 2), round(ssimulacra2(source, pixels), 1)
        rows.append((str(path), *row, round(seconds, 3)))
    png = size((folder / "astronaut.png").stat().st_size)
    title = f"a photograph of {photo.width}x{photo.height} pixels, {png} as PNG"
    output.table(title, rows, ("file", "bytes", "PSNR, dB", "SSIMULACRA2", "seconds to open"))
