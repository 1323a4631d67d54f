"""The transform that training starts from: YCoCg colour, 8x8 DCT, 2x2 Hadamard over neighbouring blocks.

A classical transform codec is a good codec already. The networks start as exactly that, restricted
to the strongest coefficients, and learn improvements in their residual branches.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model.core.config import DCT_PATCH

CHROMA_PENALTY = 2.2
"""Factor on the frequency of a chroma coefficient in the order of strength (measured on natural images)."""
Frequency = tuple[int, int, int]
"""(plane, vertical, horizontal) of a coefficient; plane 0 is luma."""


def _fading(plane: int, vertical: float, horizontal: float) -> float:
    return math.hypot(vertical, horizontal) * (1 if plane == 0 else CHROMA_PENALTY) + (0.0 if plane == 0 else 0.5)


def dct_rows(count: int) -> tuple[Tensor, list[Frequency]]:
    """The strongest `count` rows of an orthonormal YCoCg x 8x8 DCT.

    Returns:
        float `[count, 192]` over the values of a patch in the order (row, column, RGB) of
        `space_to_depth(image, 8)`; and the frequency of each row.
    """
    n = range(DCT_PATCH)
    basis = torch.tensor(
        [
            [
                math.sqrt((1 if u == 0 else 2) / DCT_PATCH) * math.cos((2 * x + 1) * u * math.pi / (2 * DCT_PATCH))
                for x in n
            ]
            for u in n
        ]
    )
    colour = F.normalize(torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 2.0, -1.0]]))
    frequencies = sorted(itertools.product(range(3), n, n), key=lambda f: _fading(*f))[:count]
    planes, vertical, horizontal = torch.tensor(frequencies).T
    rows = torch.einsum("ny,nx,nc->nyxc", basis[vertical], basis[horizontal], colour[planes])
    return rows.reshape(count, -1), frequencies


def hadamard_rows(frequencies: list[Frequency], count: int) -> Tensor:
    """The strongest `count` rows of a Hadamard transform over 2x2 neighbouring patches.

    Returns:
        float `[count, 4 * len(frequencies)]` over `space_to_depth(patches, 2)`, orthonormal.
    """
    signs = {(0, 0): (1, 1, 1, 1), (0, 1): (1, -1, 1, -1), (1, 0): (1, 1, -1, -1), (1, 1): (1, -1, -1, 1)}
    order = [(i, s) for i in range(len(frequencies)) for s in signs]
    order.sort(
        key=lambda o: _fading(
            frequencies[o[0]][0], 2 * frequencies[o[0]][1] + o[1][0], 2 * frequencies[o[0]][2] + o[1][1]
        )
    )
    rows = torch.zeros(count, 4, len(frequencies))
    columns, kinds = zip(*order[:count], strict=True)
    rows[range(count), :, columns] = torch.tensor([signs[kind] for kind in kinds]) / 2
    return rows.reshape(count, -1)
