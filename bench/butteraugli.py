"""Butteraugli, measured by libjxl's program if it is installed (Debian's package `libjxl-devtools`)."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from pipeline.evaluate.points import Pixels

PROGRAM = shutil.which("butteraugli_main")


def distance(original: Pixels, decoded: Pixels) -> float | None:
    """The 3-norm of the map of distances: 0 for equal pictures, about 1 where a difference becomes visible.

    None if the program is not installed.

    Raises:
        RuntimeError: when the program fails.
    """
    if PROGRAM is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("original.png", "decoded.png")]
        for file, pixels in zip(files, (original, decoded), strict=True):
            Image.fromarray(pixels).save(file, compress_level=1)
        done = subprocess.run([PROGRAM, *map(str, files)], capture_output=True, text=True)
    found = re.search(r"3-norm: ([0-9.e+-]+)", done.stdout)
    if done.returncode or not found:
        raise RuntimeError(f"{PROGRAM} failed: {done.stderr.strip()[-300:]}")
    return float(found[1])
