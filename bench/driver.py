"""Peak memory of the driver while it encodes few and many images: it must not grow with their number.

    python -m bench.driver                    # 500 and 5,000 images, each in a process of its own
    python -m bench.driver --images 1000 20000

The images are tiny JPEGs, so that their number dominates. Measured is the process that calls `encode`, without Ray's
own processes.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.encode.run import encode
from pipeline.encode.settings import EncodeSettings
from pipeline.execution.ray_init import start_ray

SIDE = 48
A_FOLDER = 500


def main(argv: Sequence[str] | None = None) -> None:
    """Measure each number of images and print a line for it."""
    parser = argparse.ArgumentParser(prog="bench.driver", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, nargs="*", default=[500, 5000], help="numbers of images")
    parser.add_argument("--model", default="base", help="model folder, or the name of a shipped one")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        print(encoded(options.images[0], options.measure, options.model))
        return
    for count in options.images:
        with tempfile.TemporaryDirectory(prefix="maepress-bench-") as folder:
            make(Path(folder) / "source", count)
            command = [sys.executable, "-m", "bench.driver", "--images", str(count), "--measure", folder]
            command += ["--model", options.model]
            print(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip(), flush=True)


def make(folder: Path, count: int) -> None:
    """Write `count` different JPEGs, a few kB each."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / f"{number // A_FOLDER:04d}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(place / f"{number:06d}.jpg", quality=95)


def encoded(count: int, folder: str, model: str) -> str:
    """Encode them in this process and print a line."""
    start_ray(address="local", include_dashboard=False, log_to_driver=False)
    settings = EncodeSettings(source=f"{folder}/source", archive=f"{folder}/archive", model=model, executor="ray")
    result = encode(settings, quiet=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    done = result.latents + result.originals + result.transcoded
    return f"{count:>8,} images: {done:,} rows in {result.seconds:.0f} s, driver's peak {peak:.0f} MB"


if __name__ == "__main__":
    main()
