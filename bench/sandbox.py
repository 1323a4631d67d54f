"""Cost of reading images in a child process: `python -m bench.sandbox FOLDER ...`.

Processor time per megapixel of all processes together, with and without the sandbox; the lowest of several rounds.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from pipeline.images.image_reader import read
from pipeline.images.limits import MAX_PIXELS, Limits
from pipeline.images.reading import Reading, Rejected
from pipeline.images.sandbox.sandbox import Sandbox

ROUNDS, MOST = 3, 100


def processor_seconds() -> float:
    """Processor seconds used by this process and its children."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def least(work: Callable[[bytes], Reading | Rejected], sources: list[bytes]) -> tuple[float, float]:
    """Processor seconds of the best round, and megapixels read in each."""
    best, pixels = float("inf"), 0
    for _ in range(ROUNDS):
        before = processor_seconds()
        readings = [work(source) for source in sources]
        best = min(best, processor_seconds() - before)
        pixels = sum(r.width * r.height for r in readings if isinstance(r, Reading))
    return best, pixels / 1e6


def main() -> None:
    paths = [path for folder in sys.argv[1:] for path in sorted(Path(folder).rglob("*")) if path.is_file()][:MOST]
    sources = [path.read_bytes() for path in paths]
    sandbox = Sandbox(Limits.for_images(60, MAX_PIXELS, 512 << 20))
    sandbox.read(sources[0], max_pixels=MAX_PIXELS)  # exclude its start
    alone, megapixels = least(lambda source: read(source, max_pixels=MAX_PIXELS), sources)
    boxed, _ = least(lambda source: sandbox.read(source, max_pixels=MAX_PIXELS), sources)
    sandbox.close()
    print(
        f"{len(sources)} images, {megapixels:.1f} MP: {alone / megapixels * 1e3:.2f} ms/MP alone, "
        f"{boxed / megapixels * 1e3:.2f} ms/MP in the sandbox, "
        f"{(boxed - alone) / len(sources) * 1e3:.2f} ms more an image"
    )


if __name__ == "__main__":
    main()
