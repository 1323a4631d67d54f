"""Compiled kernels for the elementwise operations of coding on a CPU, one pass over memory each.

Tensor operators take some twenty passes for the same. `model.entropy.elementwise` also has the
tensor version, for GPUs; tests check that both give the same bits. Arrays are contiguous and have
no batch axis.
"""

import numpy as np

from model.core.jit import Array, compiled

Where = tuple[int, int, int, int]
"""A sublattice: first row, column and channel, and the stride between channels."""


@compiled
def neighbours(sizes: Array, weight: Array, out: Array) -> None:
    """Weighted sums over 3x3 neighbourhoods, rounded and clipped to 8 bits.

    Args:
        sizes: uint8 `[h + 2, w + 2, M]`.
        weight: in units of 2^-7, int32 `[9, M]`.
        out: the output, integers 0..255 in float32 `[h, w, M]`.
    """
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            for k in range(out.shape[2]):
                total = (
                    np.int32(sizes[r, c, k]) * weight[0, k]
                    + np.int32(sizes[r, c + 1, k]) * weight[1, k]
                    + np.int32(sizes[r, c + 2, k]) * weight[2, k]
                    + np.int32(sizes[r + 1, c, k]) * weight[3, k]
                    + np.int32(sizes[r + 1, c + 1, k]) * weight[4, k]
                    + np.int32(sizes[r + 1, c + 2, k]) * weight[5, k]
                    + np.int32(sizes[r + 2, c, k]) * weight[6, k]
                    + np.int32(sizes[r + 2, c + 1, k]) * weight[7, k]
                    + np.int32(sizes[r + 2, c + 2, k]) * weight[8, k]
                )
                rounded = (total + np.int32(64)) >> np.int32(7)
                out[r, c, k] = np.float32(min(max(rounded, np.int32(0)), np.int32(255)))


@compiled
def join(narrow: Array, sizes: Array, weight: Array, again: Array, out: Array) -> None:
    """Features of z beside weighted sums over neighbourhoods: the input of an `IntegerLinear`.

    Args:
        narrow: uint8 `[h, w, S]`.
        sizes: uint8 `[h + 2, w + 2, M]`.
        weight: of the sums, in units of 2^-7, int16 `[9, M]`.
        again: inputs to repeat at the end, int64 `[E]`.
        out: the output, uint8 `[h, w, S + M + E]`.
    """
    features, channels = narrow.shape[2], weight.shape[1]
    total = np.empty(channels, np.int32)
    for r in range(out.shape[0]):
        for c in range(out.shape[1]):
            for k in range(features):
                out[r, c, k] = narrow[r, c, k]
            for k in range(channels):
                total[k] = 64
            for row in range(3):  # a loop per row: with more arrays at once the compiler would not use vectors
                for k in range(channels):
                    total[k] += (
                        np.int32(sizes[r + row, c, k]) * np.int32(weight[3 * row, k])
                        + np.int32(sizes[r + row, c + 1, k]) * np.int32(weight[3 * row + 1, k])
                        + np.int32(sizes[r + row, c + 2, k]) * np.int32(weight[3 * row + 2, k])
                    )
            for k in range(channels):
                out[r, c, features + k] = np.uint8(min(max(total[k] >> np.int32(7), np.int32(0)), np.int32(255)))
            for e in range(len(again)):
                out[r, c, features + channels + e] = out[r, c, again[e]]


@compiled
def rows_of(features: Array, where: Where, again: Array, out: Array) -> None:
    """Features at the positions of a sublattice: the input of an `IntegerLinear`.

    Args:
        features: uint8 `[h, w, C]`.
        where: the sublattice.
        again: inputs to repeat at the end, int64 `[E]`.
        out: the output, uint8 `[N, C + E]`.
    """
    channels = features.shape[2]
    i = 0
    for r in range(where[0], features.shape[0], 2):
        for c in range(where[1], features.shape[1], 2):
            for k in range(channels):
                out[i, k] = features[r, c, k]
            for e in range(len(again)):
                out[i, channels + e] = features[r, c, again[e]]
            i += 1


@compiled
def sizes(symbols: Array, table: Array, out: Array) -> None:
    """Log-sizes of symbols.

    Args:
        symbols: integers `[h, w, M]`.
        table: log-sizes of 0..255, uint8 `[256]`.
        out: the output, uint8 `[h + 2, w + 2, M]`; its border of 1 is not written.
    """
    for r in range(symbols.shape[0]):
        for c in range(symbols.shape[1]):
            for k in range(symbols.shape[2]):
                out[r + 1, c + 1, k] = table[min(abs(int(symbols[r, c, k])), 255)]


@compiled
def scale_indices(sums: Array, where: Where, indices: Array) -> None:
    """Round sums down and clip them to scale indices, on a sublattice.

    Args:
        sums: float32 or uint8 `[N, n]`, of N positions in scan order and n channels.
        where: the sublattice.
        indices: the output, uint8 `[h, w, M]`.
    """
    a, b, group, stride = where
    i = 0
    for r in range(a, indices.shape[0], 2):
        for c in range(b, indices.shape[1], 2):
            for n in range(sums.shape[1]):
                indices[r, c, group + n * stride] = np.uint8(min(max(sums[i, n], np.float32(0)), np.float32(63)))
            i += 1


@compiled
def quantise(
    y: Array,
    mean: Array,
    sums: Array,
    gain: Array,
    limits: Array,
    offsets: Array,
    table: Array,
    where: Where,
    symbols: Array,
    indices: Array,
    latent: Array,
    sizes: Array,
) -> None:
    """Round latents of a sublattice (`model.entropy.rdo_quantisation.to_symbols`), and store what follows.

    Args:
        y: float32 `[h, w, M]`.
        mean: float32 `[N, n]`, of N positions in scan order and n channels.
        sums: scale indices before rounding, as for `scale_indices`.
        gain: float32 `[M]`.
        limits: thresholds, float32 `[SCALES, 2]`.
        offsets: shift of the reconstruction of symbols with absolute value 0, 1 and more, float32
            `[SCALES, 3]`.
        table: log-sizes of 0..255, uint8 `[256]`.
        where: the sublattice.
        symbols: output, int32 `[h, w, M]`.
        indices: output, uint8 `[h, w, M]`.
        latent: output, float32 `[h, w, M]`.
        sizes: output, log-sizes of the symbols, uint8 `[h + 2, w + 2, M]`.
    """
    a, b, group, stride = where
    i = 0
    for r in range(a, y.shape[0], 2):
        for c in range(b, y.shape[1], 2):
            for n in range(mean.shape[1]):
                k = group + n * stride
                index = int(min(max(sums[i, n], np.float32(0)), np.float32(63)))
                steps = (y[r, c, k] - mean[i, n]) * gain[k]
                size = abs(steps)
                whole = max(int(size - limits[index, 1] + np.float32(1)), 1) if size >= limits[index, 0] else 0
                moved = np.float32(whole) - offsets[index, min(whole, 2)]
                negative = steps < 0
                symbols[r, c, k] = -whole if negative else whole
                indices[r, c, k] = index
                latent[r, c, k] = (-moved if negative else moved) / gain[k] + mean[i, n]
                sizes[r + 1, c + 1, k] = table[min(whole, 255)]
            i += 1


@compiled
def dequantise(
    symbols: Array, indices: Array, mean: Array, gain: Array, offsets: Array, where: Where, latent: Array
) -> None:
    """Reconstruct latents of a sublattice from symbols `[h, w, M]`; arguments as for `quantise`."""
    a, b, group, stride = where
    i = 0
    for r in range(a, latent.shape[0], 2):
        for c in range(b, latent.shape[1], 2):
            for n in range(mean.shape[1]):
                k = group + n * stride
                symbol = int(symbols[r, c, k])
                whole = abs(symbol)
                moved = np.float32(whole) - offsets[int(indices[r, c, k]), min(whole, 2)]
                latent[r, c, k] = (-moved if symbol < 0 else moved) / gain[k] + mean[i, n]
            i += 1
