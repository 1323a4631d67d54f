"""Compiled kernels of the transforms on a CPU. Each works on a strip: some rows, which stay in a core's cache.

Images of a batch lie below one another: row g of `[B * h, w, C]` is row g % h of image g // h. Arrays
are contiguous.
"""

import numpy as np

from model.core.config import DCT_PATCH
from model.core.jit import Array, compiled, compiled_for_floats

_RUN = 3 * DCT_PATCH
"""Values of a row of a patch. A constant, with which the compiler uses vectors for it."""


@compiled_for_floats
def depthwise(x: Array, height: int, weight: Array, bias: Array, first: int, out: Array, rounded: Array) -> None:
    """Weighted sums over 3x3 neighbourhoods of some rows, with zeros beyond the border of an image.

    Args:
        x: float32 `[B * h, w, C]`.
        height: rows of an image, h.
        weight: float32 `[9, C]`.
        bias: float32 `[C]`.
        first: the first row.
        out: the output, float32 `[rows, w, C]`; or empty, and then it is `rounded`.
        rounded: the output rounded to bfloat16, as bits, uint16 `[rows, w, C]`.
    """
    width, channels = x.shape[1], x.shape[2]
    total = np.empty(channels, np.float32)
    bits = total.view(np.uint32)
    for i in range(max(len(out), len(rounded))):
        g = first + i
        r = g % height
        for c in range(width):
            for k in range(channels):
                total[k] = bias[k]
            # A loop per row of the neighbourhood: with all nine arrays at once the compiler would not use
            # vectors, as too many might overlap.
            for row in range(3):
                if not 1 <= r + row <= height:
                    continue
                above = g + row - 1
                if 0 < c < width - 1:
                    for k in range(channels):
                        total[k] += (
                            x[above, c - 1, k] * weight[3 * row, k]
                            + x[above, c, k] * weight[3 * row + 1, k]
                            + x[above, c + 1, k] * weight[3 * row + 2, k]
                        )
                    continue
                for column in range(3):
                    if 1 <= c + column <= width:
                        for k in range(channels):
                            total[k] += x[above, c + column - 1, k] * weight[3 * row + column, k]
            if len(out):
                for k in range(channels):
                    out[i, c, k] = total[k]
            else:
                for k in range(channels):  # half of the last bit that stays, less one if that bit is even
                    odd = (bits[k] >> np.uint32(16)) & np.uint32(1)
                    rounded[i, c, k] = np.uint16((bits[k] + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@compiled
def patches(image: Array, first: int, out: Array) -> None:
    """Pixels of some rows of patches (`space_to_depth`).

    Args:
        image: uint8 `[B * H, 3 * W]`.
        first: the first row of patches.
        out: the output, float32 `[rows, W / DCT_PATCH, 3 * DCT_PATCH^2]`.
    """
    for i in range(out.shape[0]):
        for row in range(DCT_PATCH):
            for c in range(out.shape[1]):
                for k in range(_RUN):
                    out[i, c, row * _RUN + k] = image[(first + i) * DCT_PATCH + row, c * _RUN + k]


@compiled
def pixels(levels: Array, first: int, image: Array) -> None:
    """Clip levels to 0..255, round them down, and put them where they belong (`depth_to_space`).

    Args:
        levels: float32 `[rows, w, 3 * DCT_PATCH^2]`.
        first: the first row of patches.
        image: the output, uint8 `[B * DCT_PATCH * h, 3 * DCT_PATCH * w]`.
    """
    for i in range(levels.shape[0]):
        for row in range(DCT_PATCH):
            for c in range(levels.shape[1]):
                for k in range(_RUN):
                    level = min(max(levels[i, c, row * _RUN + k], np.float32(0)), np.float32(255))
                    image[(first + i) * DCT_PATCH + row, c * _RUN + k] = np.uint8(level)


@compiled
def pairs(x: Array, first: int, out: Array) -> None:
    """`space_to_depth` of some rows, with patches of 2x2.

    Args:
        x: float32 `[B * 2 h, 2 w, C]`.
        first: the first row of patches.
        out: the output, float32 `[rows, w, 4 * C]`.
    """
    channels = x.shape[2]
    for i in range(out.shape[0]):
        for c in range(out.shape[1]):
            for n in range(4):
                for k in range(channels):
                    out[i, c, n * channels + k] = x[2 * (first + i) + n // 2, 2 * c + n % 2, k]


@compiled
def scaled_from_pairs(pairs: Array, first: int, height: int, factor: Array, out: Array) -> None:
    """`depth_to_space` of some rows of patches of 2x2, times a factor per image and channel.

    Args:
        pairs: float32 `[rows, w, 4 * C]`.
        first: the first row of patches.
        height: rows of patches of an image, h.
        factor: float32 `[B, C]`.
        out: the output, float32 `[B * 2 h, 2 w, C]`.
    """
    channels = out.shape[2]
    for i in range(pairs.shape[0]):
        g = first + i
        for c in range(pairs.shape[1]):
            for n in range(4):
                for k in range(channels):
                    out[2 * g + n // 2, 2 * c + n % 2, k] = pairs[i, c, n * channels + k] * factor[g // height, k]
