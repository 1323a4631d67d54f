"""How well the transforms alone give images back, before anything is quantised: `python -m bench.ceiling FILE ...`.

    image --analysis--> y --synthesis--> image ~          no symbols, no rounding of y: no quality can be better

A latent at 1/16 has M numbers for the 768 of its 16x16 block. What does not fit into them is lost at every quality, so
an image of fine colour noise or of single-pixel texture comes out at a PSNR that more bits do not improve. Beside it
stands what the transform that training starts from keeps (`model.dct`), a projection on M basis vectors.
"""

import math
import sys

import torch
import torch.nn.functional as F
from torch import Tensor

from model import checkpoint
from model.config import LATENT_STRIDE, PATCH, CodecConfig
from model.dct import dct_rows, hadamard_rows
from model.layers import depth_to_space, space_to_depth
from pipeline.reading import Reading, read

HEADINGS = "projection dB", "transforms dB", "error in chroma", "image"


def project(image: Tensor, config: CodecConfig) -> Tensor:
    """The part of float `[B, H, W, 3]` that the starting transform keeps."""
    dct, frequencies = dct_rows(config.patch_channels)
    rows = hadamard_rows(frequencies, config.latent_channels)
    y = space_to_depth(space_to_depth(image - 0.5, PATCH) @ dct.T, 2) @ rows.T
    return depth_to_space(depth_to_space(y @ rows, 2) @ dct, PATCH) + 0.5


def decibels(image: Tensor, other: Tensor) -> float:
    """PSNR of two images in 0..1; the second is clipped, as a decoder's output is."""
    return 10 * math.log10(1 / float((image - other.clamp(0, 1)).square().mean()))


def chroma_share(error: Tensor) -> float:
    """How much of an error `[B, H, W, 3]` is in colour differences, 0..1."""
    luma = error.mean(-1, keepdim=True)
    return 1 - float(luma.square().sum() * 3 / error.square().sum())


@torch.inference_mode()
def main() -> None:
    network = checkpoint.load("base").network
    quality = torch.tensor([63])
    print("  ".join(HEADINGS))
    for path in sys.argv[1:]:
        with open(path, "rb") as file:
            reading = read(file.read())
        if not isinstance(reading, Reading) or reading.picture is None or reading.picture.pixels.shape[2] != 3:
            raise SystemExit(f"{path}: not an 8-bit colour image")
        image = torch.tensor(reading.picture.pixels).float().div(255)[None]
        padding = (0, -image.shape[2] % LATENT_STRIDE, 0, -image.shape[1] % LATENT_STRIDE)
        image = F.pad(image.permute(0, 3, 1, 2), padding, mode="replicate").permute(0, 2, 3, 1)
        output = network.synthesis(network.analysis(image), quality)
        kept = decibels(image, project(image, network.config))
        print(f"{kept:13.2f}  {decibels(image, output):13.2f}  {chroma_share(image - output):15.0%}  {path}")


if __name__ == "__main__":
    main()
