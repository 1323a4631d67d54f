"""Conversion between the planes of a picture and the padded RGB batches of the networks."""

import numpy as np
import torch
from numpy.typing import NDArray

from model.bitstream.container import Colour
from model.core.config import LATENT_STRIDE
from model.core.picture import Picture
from model.inference.tiling import Window


def latent_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the latents that cover an image of that size in pixels."""
    return -(-height // LATENT_STRIDE), -(-width // LATENT_STRIDE)


def colour_of(picture: Picture) -> Colour:
    """Kind of the picture's planes."""
    return Colour.GREY if picture.pixels.shape[2] == 1 else Colour.RGB


def window_of(picture: Picture, window: Window, *, padded: bool = True) -> NDArray[np.uint8]:
    """RGB pixels of a window of latents, uint8 `[16 h, 16 w, 3]`; grey is repeated three times.

    Args:
        picture: the picture.
        window: of its latents.
        padded: repeat the picture's edge beyond it; else the window ends there.
    """
    area = window.finer(LATENT_STRIDE)
    part = picture.pixels[area.top : area.bottom, area.left : area.right]
    down, right = area.size[0] - part.shape[0], area.size[1] - part.shape[1]
    if padded and (down or right):
        part = np.pad(part, ((0, down), (0, right), (0, 0)), mode="edge")
    return part.repeat(3, axis=2) if part.shape[2] == 1 else part


def to_network(parts: list[NDArray[np.uint8]], device: torch.device) -> torch.Tensor:
    """Stack images of equal size to a batch on the device, uint8 `[B, H, W, 3]`."""
    # A copy, because arrays from Pillow are read-only, and torch warns of those. A GPU copies pinned
    # memory while the host goes on.
    batch = torch.empty((len(parts), *parts[0].shape), dtype=torch.uint8, pin_memory=device.type != "cpu")
    np.stack(parts, out=batch.numpy())
    return batch.to(device, non_blocking=True)


def planes_of(output: NDArray[np.uint8], colour: Colour) -> NDArray[np.uint8]:
    """Convert the networks' RGB to a picture's planes: grey is the rounded mean of the three."""
    if colour == Colour.RGB:
        return output
    grey: NDArray[np.uint8] = ((output.sum(2, keepdims=True, dtype=np.uint16) * 2 + 3) // 6).astype(np.uint8)
    return grey
