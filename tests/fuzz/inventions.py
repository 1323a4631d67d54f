"""Valid payloads that no encoder would write but every decoder must read: arbitrary integers, properly coded.

They reach the networks. Corrupted streams seldom do, because they do not end where they should.
"""

from functools import cache
from pathlib import Path

import numpy as np

from model import checkpoint
from model.bitstream.container import Colour, Header
from model.bitstream.entropy_coder import EntropyCoder, Latents
from model.bitstream.escapes import MAX_SYMBOL
from model.core.model_files import WEIGHTS
from tests.model.reference_decoder import ScalePath, Tensors, read_safetensors

SIDES = (1, 15, 16, 17, 40, 64, 90)


@cache
def _model(folder: Path) -> tuple[EntropyCoder, Tensors]:
    loaded = checkpoint.load(folder)
    return EntropyCoder(loaded.tables, loaded.fingerprint), read_safetensors((folder / WEIGHTS).read_bytes())


def invented(folder: Path, rng: np.random.Generator) -> bytes:
    """A valid payload of a model with random size, hyper-latents, symbols up to the largest possible, and alpha."""
    coder, tensors = _model(folder)
    height, width = (int(n) for n in rng.choice(SIDES, 2))
    header = Header(coder.fingerprint, width, height, int(rng.integers(64)), Colour(int(rng.integers(2))))
    h, w = -(-height // 16), -(-width // 16)
    extent = int(rng.choice([0, 1, 10, 127]))
    z = rng.integers(-extent, extent + 1, (-(-h // 4), -(-w // 4), tensors["tables.hyper"].shape[1]))
    path = ScalePath(tensors, header.quality, z, (h, w))
    largest = int(rng.choice([0, 1, 2, 30, 1000, MAX_SYMBOL]))
    symbols = rng.integers(-largest, largest + 1, path.shape) * (rng.random(path.shape) < rng.choice([0.01, 0.3, 1]))
    indices = path.indices(symbols, 2).astype(np.uint8)
    alpha = rng.integers(0, 256, (height, width)).astype(np.uint8) if rng.integers(4) == 0 else None
    return coder.encode(Latents(header, z.astype(np.int8), symbols.astype(np.int32), indices, alpha))
