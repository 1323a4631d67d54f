"""Creates the golden files: a tiny model, payloads, and their decoded pixels and symbols.

    python -m tests.expected.make

Format version 1 is final: every later maepress decodes the golden files to the same symbols and,
within one level, to the same pixels. They are never created again, so this refuses to; a new format
version gets its own files beside them.
"""

import hashlib
import json
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model import checkpoint
from model.checkpoint import serialise
from model.codec import Codec, Latents
from model.core.config import CodecConfig
from model.core.picture import Picture
from model.core.target import Target
from model.layers.blocks import set_compute_dtype
from model.network.network import Network
from tests.conftest import photo_like

FOLDER = Path(__file__).parent / "version-1"
SHAPE = CodecConfig(
    patch_channels=16,
    latent_channels=16,
    hyper_channels=2,
    analysis_blocks=(1, 1),
    synthesis_blocks=(1, 1),
    hyper_width=8,
    context_width=8,
    scale_width=8,
)


def network() -> Network:
    """A network in which no layer is zero."""
    torch.manual_seed(1)
    made = Network(SHAPE)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        # Narrow enough that the tables of the largest scales, most of the file, stay small.
        made.prior.spread.clamp_(max=0.2)
    return made


def pictures() -> dict[str, tuple[Picture, int | Target]]:
    """The pictures, each with its quality or target."""
    alpha = (np.indices((29, 45)).sum(0) * 3).astype(np.uint8)
    noise = np.random.default_rng(2).integers(0, 256, (40, 72, 3)).astype(np.uint8)
    ramp = (np.indices((17, 33))[1] * 7).astype(np.uint8)
    return {
        "rgb": (Picture(photo_like(100, 130)), 45),
        "rgb-smallest": (Picture(photo_like(100, 130, seed=3)), 0),
        "between-qualities": (Picture(photo_like(48, 80, seed=4)), Target(max_bpp=1.1)),
        "grey": (Picture(photo_like(61, 40, 1)), 33),
        "alpha": (Picture(photo_like(29, 45), alpha, icc=b"icc", exif=b"exif", xmp=b"xmp"), 20),
        "grey-alpha": (Picture(photo_like(17, 33, 1), ramp), 50),
        "one-pixel": (Picture(np.full((1, 1, 3), (200, 30, 90), np.uint8)), 63),
        "one-row": (Picture(photo_like(1, 70)), 8),
        "one-column": (Picture(photo_like(70, 1)), 57),
        "whole-blocks": (Picture(photo_like(64, 128, seed=5)), 12),
        "escapes": (Picture(noise), 63),
        "escapes-packed": (Picture(np.tile(noise[:16, :16], (4, 4, 1))), 63),
        "unknown-section": (Picture(photo_like(20, 20), noise[:20, :20, 0]), 28),
    }


def with_section(payload: bytes, tag: int, data: bytes) -> bytes:
    """A payload with one more section, of fewer than 128 bytes."""
    body = payload[:-5] + bytes([tag, len(data)]) + data + b"\0"
    return body + struct.pack("<I", google_crc32c.value(body))


def digest(latents: Latents) -> str:
    """SHA-256 of the integers of a payload: z, symbols and scale indices, little-endian."""
    parts: list[NDArray[np.generic]] = [latents.z, latents.symbols.astype("<i4"), latents.indices]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def new_file(path: Path, data: bytes) -> None:
    """Write a file that is not there yet."""
    with path.open("xb") as file:
        file.write(data)


def main() -> None:
    """Write all files, none of which may be there."""
    (FOLDER / "model").mkdir(parents=True, exist_ok=True)
    for name, data in serialise(network()).items():
        new_file(FOLDER / "model" / name, data)
    model, symbols = checkpoint.load(FOLDER / "model"), {}
    codec = Codec(model)
    set_compute_dtype(model.network, torch.float32)  # on every machine
    for name, (picture, quality) in pictures().items():
        (payload,) = codec.compress([picture], quality)
        if name == "unknown-section":
            payload = with_section(payload, 200, b"from a later version")
        new_file(FOLDER / f"{name}.mae", payload)
        symbols[name] = digest(codec.restore([payload])[0])
        (decoded,) = codec.decompress([payload])
        planes = decoded.pixels if decoded.alpha is None else np.dstack([decoded.pixels, decoded.alpha])
        Image.fromarray(planes.squeeze(2) if planes.shape[2] == 1 else planes).save(
            FOLDER / f"{name}.png", optimize=True
        )
    (FOLDER / "symbols.json").write_text(json.dumps(symbols, indent=1) + "\n")


if __name__ == "__main__":
    main()
