"""Bit-exactness of payloads across threads, batches, number formats, processors and versions of torch, and its cost.

    python -m bench.exactness [--images DIR] [--count 8] [--torch VERSION ...] [--rate N]

Encodes the middle of some photographs in a reference set-up (one thread, one picture at a time, float32) and in others:
more threads, a batch, tiles, bfloat16, without oneDNN, with instruction sets of the processor switched off, and with
other versions of torch, for each of which it makes a virtual environment. For each set-up it reports the number of
payloads whose bytes differ from the reference, and of differing whole numbers (encoders may differ); whether it decodes
the reference's payloads to exactly the same whole numbers, and vice versa; and the largest difference between pixels.
Set-ups in bfloat16 must agree with each other, not with float32. `--rate` measures the bits that the integer
arithmetic costs (`bench.exact.rate`).
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from rich.console import Console
from rich.table import Table

from bench.data import DATA, ROOT
from bench.exact.compare import compare
from bench.exact.environments import PROCESSORS, observe_there, with_torch
from bench.exact.observe import Arrangement, Observation, middle, observe
from bench.exact.rate import report_rate
from model.core.errors import MaepressError

SIZE = (512, 768)
"""Rows and columns of the part of each image that is coded."""
PLAIN, HALF = Arrangement(), Arrangement(bfloat16=True)
HERE = tuple(
    changed
    for start in (PLAIN, HALF)
    for changed in (
        replace(start, threads=2),
        replace(start, threads=4),
        replace(start, batch=8),
        replace(start, tile=8),
        replace(start, onednn=False),
    )
)
"""Set-ups that run in this interpreter."""
COLUMNS = ("arrangement", "other payloads", "numbers written otherwise", "read otherwise", "levels", "samples")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, compare and print; 1 if a payload is decoded differently or a pixel differs by over one level."""
    options = _options(argv)
    console = Console(width=110, highlight=False)
    files = large_enough(sorted(options.images.glob("*")), options.count)
    if not files:
        print(f"no images in {options.images} (give --images FOLDER or set MAEPRESS_DATA)", file=sys.stderr)
        return 2
    pictures = [middle(file, SIZE) for file in files]
    plain = observe(PLAIN, pictures, options.qualities, [])
    table = Table(*COLUMNS, title=f"{len(plain.payloads)} payloads of {SIZE[1]}x{SIZE[0]} at {options.qualities}")
    exact = True
    try:
        half: Observation | None = None
        for name, other in _others(plain.payloads, files, options):
            own = [i for i, payload in enumerate(other.payloads) if payload != plain.payloads[i]]
            again = observe(PLAIN, pictures[:1], [0], [other.payloads[i] for i in own]).read if own else []
            reread = sum(int((other.written[i] != again[n]).sum()) for n, i in enumerate(own))
            d = compare(plain, other, half if HALF.name in name else None)
            half = half or other
            exact &= d.is_exact and not reread
            written = f"{d.written} of {d.of / 1e6:.1f} M"
            table.add_row(name, str(d.payloads), written, str(d.read + reread), str(d.levels), f"{d.samples:.3%}")
            print(f"{name}: {d}, reread {reread}", file=sys.stderr)
    except MaepressError as e:
        print(f"bench.exactness: {e}", file=sys.stderr)
        return 2
    console.print(table)
    if options.rate:
        report_rate(DATA / "train", console, qualities=options.qualities, images=options.rate, steps=options.steps)
    return int(not exact)


def _others(
    payloads: Sequence[bytes], files: Sequence[Path], options: argparse.Namespace
) -> Iterator[tuple[str, Observation]]:
    """Results of the other set-ups for the same pictures and payloads, by name."""
    pictures = [middle(file, SIZE) for file in files]
    for arrangement in (HALF, *HERE):
        yield arrangement.name, observe(arrangement, pictures, options.qualities, payloads)
    for environment in (*PROCESSORS, *(with_torch(wanted, options.environments) for wanted in options.torch)):
        for arrangement in (PLAIN, HALF):
            there = observe_there(environment, arrangement, files, SIZE, options.qualities, payloads)
            yield f"{environment.name} {arrangement.name}".strip(), there


def large_enough(paths: Sequence[Path], count: int) -> list[Path]:
    """The first images that are large enough for the part that is encoded."""
    chosen: list[Path] = []
    for path in paths:
        if len(chosen) == count:
            break
        try:
            with Image.open(path) as image:
                if image.height >= SIZE[0] and image.width >= SIZE[1]:
                    chosen.append(path)
        except UnidentifiedImageError:
            continue
    return chosen


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.exactness", description="Is coding the same everywhere?")
    parser.add_argument("--images", type=Path, default=DATA / "train" / "photos", help="folder of photographs")
    parser.add_argument("--count", type=int, default=8, help="photographs to encode")
    parser.add_argument("--qualities", type=int, nargs="+", default=[8, 32, 60], help="qualities of the model")
    parser.add_argument("--torch", nargs="*", default=[], metavar="VERSION", help="other versions of torch to compare")
    parser.add_argument("--environments", type=Path, default=ROOT / "build", help="folder for their environments")
    parser.add_argument("--rate", type=int, default=0, metavar="N", help="measure the cost in bits on N images")
    parser.add_argument("--steps", type=int, default=400, help="tuning steps before that")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
