"""The process that decodes corrupted payloads, one after the other, under limits; it may crash.

    python -m tests.fuzz.child SEED FIRST END

Prints one line per case: its number and its outcome. Hangs and crashes end the process;
`tests.fuzz.driver` records the case and continues with the next one.
"""

import io
import resource
import signal
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from model import pillow_plugin
from model.bitstream import container
from model.codec import Codec
from model.core.errors import DamagedPayload, MaepressError, UnsupportedImage, WrongModel
from model.core.model_files import BASE
from model.core.picture import Picture
from tests.conftest import photo_like
from tests.expected.make import FOLDER as GOLDEN
from tests.fuzz.inventions import invented
from tests.fuzz.mutations import case

SECONDS = 1.0
"""Limit of processor time per decode."""
WAIT = 60.0
"""Limit of wall-clock time per decode: long enough to tell a deadlock from a busy machine."""
MEMORY = 64 << 20
MEMORY_PER_PIXEL = 2048
"""Bytes of address space that a decode may add: a fixed part, and a part per pixel of the size in the header."""
FEW = 8
"""One of this number of payloads is of the shipped model, which takes ten times as long."""


@cache
def codecs() -> dict[str, Codec]:
    """The golden files' model and the shipped one, by fingerprint."""
    loaded = [pillow_plugin.use(folder) for folder in (GOLDEN / "model", "base")]
    return {codec.fingerprint: codec for codec in loaded}


@cache
def corpus() -> list[bytes]:
    """Intact payloads: all golden files, some several times, and small pictures of the shipped model."""
    golden = [path.read_bytes() for path in sorted(GOLDEN.glob("*.mae"))]
    alpha = photo_like(40, 56, 1)[..., 0]
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    whole = Picture(photo_like(40, 56), alpha, b"icc", b"exif", b"xmp")
    pictures = [whole, Picture(noise), Picture(photo_like(70, 65, 1))]
    _, base = codecs().values()
    few = [payload for quality in (3, 60) for payload in base.compress(pictures, quality)]
    return golden * (FEW * len(few) // len(golden)) + few


def payload_of(seed: int, number: int) -> bytes:
    """The payload of a case."""

    def invent_one(rng: np.random.Generator) -> bytes:
        return invented(GOLDEN / "model" if rng.integers(FEW) else BASE, rng)

    return case(seed, number, corpus(), invent_one)


def first_ones() -> list[bytes]:
    """Payloads of the shipped model, and some with symbols of each dtype, the widest being rare."""
    return corpus()[-6:] + [invented(GOLDEN / "model", np.random.default_rng(n)) for n in range(20)]


def outcome(payload: bytes, *, by_pillow: bool = False) -> str:
    """Outcome of decoding: "decoded", or the name of an expected error. Other errors are raised.

    Args:
        payload: anything.
        by_pillow: open it with Pillow's plugin instead of the codec.
    """
    if by_pillow:
        return _outcome_by_pillow(payload)
    try:
        header = container.read(payload)[0]
        codec = codecs().get(header.fingerprint, next(iter(codecs().values())))
        codec.verify(payload)
        (picture,) = codec.decompress([payload])
    except (DamagedPayload, WrongModel, UnsupportedImage) as e:
        assert "\n" not in str(e) and len(str(e)) < 300
        return type(e).__name__
    assert (picture.width, picture.height) == (header.width, header.height)
    return "decoded"


def _outcome_by_pillow(payload: bytes) -> str:
    try:
        with Image.open(io.BytesIO(payload)) as image:
            image.load()
            return "decoded"
    except (UnidentifiedImageError, Image.DecompressionBombError) as e:
        return type(e).__name__
    except OSError as e:
        if not isinstance(e.__cause__, MaepressError):
            raise
        return f"OSError of {type(e.__cause__).__name__}"


def _size(payload: bytes) -> int:
    """Number of pixels of the size in the header, limited to 2^24."""
    try:
        header = container.read_header(payload)
    except DamagedPayload:
        return 0
    return min(header.width * header.height, 1 << 24)


def _used() -> int:
    """Bytes of address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _limited(payload: bytes, *, by_pillow: bool) -> str:
    """Outcome under limits. The default action of both signals ends the process, even inside a library."""
    limit = _used() + MEMORY + MEMORY_PER_PIXEL * _size(payload)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    try:
        return outcome(payload, by_pillow=by_pillow)
    except Exception as e:  # any unexpected error is a finding
        return f"failure {type(e).__name__}: {' '.join(str(e).split())[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def main(seed: int, first: int, end: int) -> None:
    """Run the cases first..end - 1."""
    torch.set_num_threads(1)
    for payload in first_ones():  # allocates what is allocated once, and compiles
        outcome(payload), outcome(payload, by_pillow=True)
    for number in range(first, end):
        payload, by_pillow = payload_of(seed, number), number % 8 == 0
        found = _limited(payload, by_pillow=by_pillow)
        print(number, f"Pillow: {found}" if by_pillow else found, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
