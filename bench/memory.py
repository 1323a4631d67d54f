"""Peak memory of encoding and decoding one large image, each in a fresh process; called by `bench.speed --memory`."""

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model.codec import Codec
from model.core.picture import Picture

ENCODE_WITH_EFFORT = "encode with effort 1"


def peak_memory(megapixels: float, model: str = "base") -> str:
    """Peak resident memory per pixel, beyond the loaded codec: of an encode, of one with effort, of a decode."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        payload = Path(folder) / "large.mae"
        for what in ("encode", ENCODE_WITH_EFFORT, "decode"):
            command = [sys.executable, "-m", "bench.memory", what, str(megapixels), model, str(payload)]
            lines.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    return "\n".join(lines)


def made(megapixels: float) -> NDArray[np.uint8]:
    """An image with structure and texture, uint8 `[H, W, 3]`, generated without large temporaries."""
    height, width = int((megapixels * 1e6 * 0.75) ** 0.5), int((megapixels * 1e6 / 0.75) ** 0.5)
    image = np.empty((height, width, 3), np.uint8)
    rng, x = np.random.default_rng(0), np.arange(width, dtype=np.float32)[:, None]
    for top in range(0, height, 256):
        y = np.arange(top, min(top + 256, height), dtype=np.float32)[:, None, None]
        texture = 128 + 50 * np.sin(x / 90 + y / 300) + 40 * np.cos(y / 70) * np.sin(x / 35)
        image[top : top + 256] = (texture + rng.normal(0, 4, texture.shape)).clip(0, 255).astype(np.uint8)
    return image


def _child(what: str, megapixels: float, model: str, payload: Path) -> str:
    torch.set_num_threads(1)
    codec = Codec.load(model)
    effort = int(what == ENCODE_WITH_EFFORT)
    codec.decompress(codec.compress([Picture(made(0.1))], 40, effort=effort))
    before = _peak()
    if what != "decode":
        picture = Picture(made(megapixels))
        (data,) = codec.compress([picture], 40, effort=effort)
        payload.write_bytes(data)
    else:
        (picture,) = codec.decompress([payload.read_bytes()])
    used, pixels = _peak() - before, picture.width * picture.height
    total = f"peak {_peak() / 1e9:.2f} GB, of it {before / 1e9:.2f} before"
    return f"{what} {picture.width}x{picture.height}: {total}; {used / pixels:.1f} bytes per pixel"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    print(_child(sys.argv[1], float(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))
