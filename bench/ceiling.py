"""The highest PSNR the transforms alone can reach, without quantisation: `python -m bench.ceiling FILE ...`.

    image --analysis--> y --synthesis--> image ~          no symbols, no rounding of y: an upper bound for every quality

A latent position has M numbers for the 768 samples of its 16x16 block. What they cannot represent is lost at every
quality, so images of fine colour noise or single-pixel texture stay at a PSNR that more bits do not improve. Beside it
stands the PSNR of the transform that training starts from (`model.layers.dct`), a projection on M basis vectors.
"""

import math
import sys

import torch
from torch import Tensor

from model import checkpoint
from model.core.config import LATENT_STRIDE
from model.inference.pixels import latent_size, to_network, window_of
from model.inference.projection_error import projection_error
from model.inference.tiling import Window
from model.layers.blocks import space_to_depth
from pipeline.images.image_reader import read
from pipeline.images.reading import Reading

CPU = torch.device("cpu")
HEADINGS = "projection dB", "transforms dB", "error in chroma", "image"


def decibels(image: Tensor, other: Tensor) -> float:
    """PSNR of two images in 0..1; the second is clipped, as a decoder's output is."""
    return 10 * math.log10(1 / float((image - other.clamp(0, 1)).square().mean()))


def chroma_share(error: Tensor) -> float:
    """Share of an error `[B, H, W, 3]` that is in the colour differences, 0..1."""
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
        picture = reading.picture
        whole = Window(0, 0, *latent_size(picture.height, picture.width))
        levels = to_network([window_of(picture, whole)], CPU)
        places = space_to_depth(levels, LATENT_STRIDE).reshape(-1, LATENT_STRIDE, LATENT_STRIDE, 3)
        kept = -10 * math.log10(float(projection_error(places, network.config)[:, 0].mean()))
        image, output = levels / 255, network.synthesis(network.analysis(levels), quality)
        print(f"{kept:13.2f}  {decibels(image, output):13.2f}  {chroma_share(image - output):15.0%}  {path}")


if __name__ == "__main__":
    main()
