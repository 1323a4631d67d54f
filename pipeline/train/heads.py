"""Fits the heads with which a model decodes at reduced size, from frozen latents of some pictures.

A head is a linear map (`model.inference.reduced`), so the fit is one system of linear equations per
scale: a minute for a hundred photographs. Heads change neither payloads nor the model's fingerprint;
without them reduced pictures are whole ones, reduced afterwards.
"""

from collections.abc import Iterable
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model import checkpoint
from model.codec import Codec
from model.core.errors import MaepressError
from model.core.model_files import WEIGHTS
from model.core.picture import Picture
from model.core.reduction import DENOMINATORS, FROM_PREFIX, NEAR, head_shape
from model.inference.reduced import cells_of, inputs_of
from model.inference.tiling import Window

QUALITIES = (40, 16, 52, 28, 60, 8)
"""Pictures are encoded at these in turn: one head serves all qualities."""
SIDE = 32
"""Pictures are cut to multiples of this: a cell of the first pass covers as many pixels."""
RIDGE = 1e-6


class Equations:
    """The normal equations of a head, in float64."""

    def __init__(self, shape: tuple[int, int]) -> None:
        outputs, inputs = shape
        self._left, self._right = np.zeros((inputs, inputs)), np.zeros((inputs, outputs))

    def add(self, inputs: torch.Tensor, wanted: NDArray[np.float64]) -> None:
        """Add examples: inputs `[1, rows, columns, I]`, wanted samples `[rows, columns, O]`."""
        x = inputs.flatten(0, 2).numpy().astype(np.float64)
        self._left += x.T @ x
        self._right += x.T @ wanted.reshape(len(x), -1)

    def solved(self) -> torch.Tensor:
        """The head, `[O, I]`."""
        diagonal = np.diag(self._left)
        left = self._left + np.diag(RIDGE * diagonal + 1e-9 * diagonal.max())
        return torch.from_numpy(np.linalg.solve(left, self._right).T.copy())


def fit_heads(codec: Codec, pictures: Iterable[Picture]) -> dict[int, torch.Tensor]:
    """Heads by denominator.

    Args:
        codec: of the model.
        pictures: photographs that the model may learn from; those below 32 pixels are left out.

    Raises:
        MaepressError: when no picture is large enough.
    """
    equations: dict[int, Equations] = {}
    for picture, quality in zip(pictures, cycle(QUALITIES), strict=False):
        height, width = (n // SIDE * SIDE for n in picture.pixels.shape[:2])
        if not height or not width or picture.pixels.shape[2] != 3:
            continue
        pixels = np.ascontiguousarray(picture.pixels[:height, :width])
        (numbers,) = codec.analyse([Picture(pixels)], quality, check=False)
        payload = codec.coder.encode(numbers)
        (latent,) = codec.latents([payload])
        (prefix,) = codec.prefixes([payload])
        cells = cells_of(prefix, codec.quantisation_steps([prefix.header.fine_quality])[0])
        for denominator in DENOMINATORS:
            shape = head_shape(denominator, latent.shape[2])
            grid = cells if denominator == FROM_PREFIX else torch.from_numpy(latent)[None]
            inputs = inputs_of(grid, Window(0, 0, *grid.shape[1:3]), shape[1] - 1 - 9 * min(grid.shape[3], NEAR))
            side = round((shape[0] // 3) ** 0.5)
            equations.setdefault(denominator, Equations(shape)).add(inputs, _means(pixels, denominator, side))
    if not equations:
        raise MaepressError(f"heads are fitted on pictures of {SIDE} x {SIDE} pixels or more: there is none")
    return {denominator: one.solved() for denominator, one in equations.items()}


def add_heads(folder: Path, pictures: Iterable[Picture]) -> None:
    """Fit the heads of the model in a local folder and write them into its weights' file."""
    heads = fit_heads(Codec.load(folder), pictures)
    made = checkpoint.with_heads((folder / WEIGHTS).read_bytes(), heads)
    aside = folder / f".{WEIGHTS}"
    aside.write_bytes(made)
    aside.replace(folder / WEIGHTS)


def _means(pixels: NDArray[np.uint8], denominator: int, side: int) -> NDArray[np.float64]:
    """Block means, those of `side` x `side` blocks together: `[rows, columns, 3 side^2]`."""
    height, width = pixels.shape[:2]
    shape = (height // denominator, denominator, width // denominator, denominator, 3)
    means: NDArray[np.float64] = pixels.reshape(shape).mean((1, 3))
    rows, columns = means.shape[0] // side, means.shape[1] // side
    blocks: NDArray[np.float64] = means.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(rows, columns, -1)
