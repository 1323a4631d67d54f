"""Results of one set-up for pictures and payloads; also run as a child of another interpreter.

    python -m bench.exact.observe TASKS.json OUT.npz

Imports nothing but the codec, numpy and Pillow, so that other versions of torch need nothing else.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model import checkpoint
from model.codec import Codec, Latents
from model.core.config import LATENT_STRIDE
from model.core.picture import Picture
from model.inference import size_batches
from model.inference.tiling import TILE
from model.network.network import finalise


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrangement:
    """How pictures are encoded.

    Attributes:
        threads: of torch.
        batch: pictures of one size that go through the networks together.
        tile: side in latents of the pieces that a picture is worked on in.
        bfloat16: blocks' branches in bfloat16 instead of float32.
        onednn: use oneDNN.
    """

    threads: int = 1
    batch: int = 1
    tile: int = TILE
    bfloat16: bool = False
    onednn: bool = True

    @property
    def name(self) -> str:
        """Differences from the reference set-up, as text."""
        plain = Arrangement()
        names = {"threads": f"{self.threads} threads", "batch": f"batch of {self.batch}"}
        names |= {"tile": f"tiles of {LATENT_STRIDE * self.tile}", "bfloat16": "bfloat16", "onednn": "oneDNN off"}
        return ", ".join(text for key, text in names.items() if getattr(self, key) != getattr(plain, key))


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """Results, one list entry per payload.

    Attributes:
        payloads: written.
        written: whole numbers in them, as `numbers` gives them.
        read: whole numbers in the payloads that were given.
        pixels: decoded from those.
    """

    payloads: list[bytes]
    written: list[NDArray[np.int32]]
    read: list[NDArray[np.int32]]
    pixels: list[NDArray[np.uint8]]


def numbers(latents: Latents) -> NDArray[np.int32]:
    """All whole numbers of an image in one row: z, symbols, scale indices."""
    parts = (latents.z, latents.symbols, latents.indices)
    return np.concatenate([part.reshape(-1).astype(np.int32) for part in parts])


def observe(
    arrangement: Arrangement,
    pictures: Sequence[Picture],
    qualities: Sequence[int],
    given: Sequence[bytes],
    model: Path | str = "base",
) -> Observation:
    """Encode and decode.

    Args:
        arrangement: how.
        pictures: to code, all of one size.
        qualities: to code each at.
        given: payloads to read; the own ones when there are none.
        model: folder.
    """
    threads, most = torch.get_num_threads(), size_batches.BATCH_LATENTS["cpu"]
    rows, columns = (-(-side // LATENT_STRIDE) for side in pictures[0].pixels.shape[:2])
    loaded = checkpoint.load(model)
    ours = Codec(loaded, tile=arrangement.tile)
    finalise(loaded.network, torch.bfloat16 if arrangement.bfloat16 else torch.float32)
    try:
        torch.set_num_threads(arrangement.threads)
        size_batches.BATCH_LATENTS["cpu"] = arrangement.batch * rows * columns
        with nullcontext() if arrangement.onednn else torch.backends.mkldnn.flags(enabled=False):
            made = [latents for q in qualities for latents in ours.analyse(pictures, q, check=False)]
            payloads = [ours.coder.encode(latents) for latents in made]
            given = given or payloads
            read = list(map(numbers, ours.restore(given)))
            pixels = [picture.pixels for picture in ours.decompress(given)]
    finally:
        torch.set_num_threads(threads)
        size_batches.BATCH_LATENTS["cpu"] = most
    return Observation(payloads, list(map(numbers, made)), read, pixels)


def middle(path: Path, size: tuple[int, int]) -> Picture:
    """The middle of an image, `size` rows and columns."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape, size, strict=False))
    return Picture(np.ascontiguousarray(pixels[top : top + size[0], left : left + size[1]]))


def save(observation: Observation, out: Path) -> None:
    """Write to an npz file."""
    arrays: dict[str, NDArray[Any]] = {}
    for field, values in asdict(observation).items():
        for i, value in enumerate(values):
            arrays[f"{field}/{i}"] = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
    np.savez(out, **arrays)  # type: ignore[arg-type]


def load(path: Path) -> Observation:
    """Read a file written by `save`."""
    with np.load(path) as file:
        count = sum(name.startswith("payloads/") for name in file)
        fields = {n: [file[f"{n}/{i}"] for i in range(count)] for n in ("written", "read", "pixels")}
        return Observation([file[f"payloads/{i}"].tobytes() for i in range(count)], **fields)


def main(tasks: Path, out: Path) -> None:
    """Main function in another interpreter: run the set-up that a file describes."""
    task = json.loads(tasks.read_text())
    pictures = [middle(Path(file), tuple(task["size"])) for file in task["images"]]
    given = [bytes.fromhex(payload) for payload in task["given"]]
    save(observe(Arrangement(**task["arrangement"]), pictures, task["qualities"], given), out)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
