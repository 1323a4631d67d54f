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
def depthwise(
    x: Array,
    weight: Array,
    bias: Array,
    height: int,
    rows: int,
    top: int,
    left: int,
    first: int,
    out: Array,
    rounded: Array,
) -> None:
    """Weighted sums over 3x3 neighbourhoods of some rows of a window, with zeros beyond the border of an image.

    Args:
        x: float32 `[B * h, w, C]`.
        weight: float32 `[9, C]`.
        bias: float32 `[C]`.
        height: rows of an image, h.
        rows: of the window in each image.
        top: row of an image where the window begins.
        left: column of an image where the window begins.
        first: the first of the windows' rows.
        out: the output, float32 `[number, columns, C]`; or empty, and then it is `rounded`.
        rounded: the output rounded to bfloat16, as bits, uint16 `[number, columns, C]`.
    """
    width, channels = x.shape[1], x.shape[2]
    total = np.empty(channels, np.float32)
    bits = total.view(np.uint32)
    for i in range(max(len(out), len(rounded))):
        r = (first + i) % rows + top
        g = (first + i) // rows * height + r
        for column in range(max(out.shape[1], rounded.shape[1])):
            c = column + left
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
                for near in range(3):
                    if 1 <= c + near <= width:
                        for k in range(channels):
                            total[k] += x[above, c + near - 1, k] * weight[3 * row + near, k]
            if len(out):
                for k in range(channels):
                    out[i, column, k] = total[k]
            else:
                for k in range(channels):  # half of the last bit that stays, less one if that bit is even
                    odd = (bits[k] >> np.uint32(16)) & np.uint32(1)
                    rounded[i, column, k] = np.uint16((bits[k] + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@compiled
def add(
    x: Array, branch: Array, rounded: Array, height: int, rows: int, top: int, left: int, first: int, out: Array
) -> None:
    """Sums of some rows of a window and of a branch that was computed for them.

    Args:
        x: float32 `[B * h, w, C]`.
        branch: float32 `[number, columns, C]`; or empty, and then it is `rounded`.
        rounded: the branch in bfloat16, as bits, uint16 `[number, columns, C]`.
        height: rows of an image, h.
        rows: of the window in each image.
        top: row of an image where the window begins.
        left: column of an image where the window begins.
        first: the first of the windows' rows.
        out: the output, float32 `[number, columns, C]`.
    """
    channels = x.shape[2]
    value = np.empty(channels, np.float32)
    bits = value.view(np.uint32)
    for i in range(len(out)):
        g = (first + i) // rows * height + (first + i) % rows + top
        for column in range(out.shape[1]):
            if len(branch):
                for k in range(channels):
                    out[i, column, k] = x[g, column + left, k] + branch[i, column, k]
            else:
                for k in range(channels):
                    bits[k] = np.uint32(rounded[i, column, k]) << np.uint32(16)
                for k in range(channels):
                    out[i, column, k] = x[g, column + left, k] + value[k]


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
