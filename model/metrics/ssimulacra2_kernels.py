"""Compiled loops of SSIMULACRA2: linear light, XYB, Gaussian windows, sums of errors.

Compilers vectorise a loop over slices that it indexes, unless many arrays could overlap the output:
no loop here uses more than eight, but for the row of the window, which has one output. They do not
vectorise sums, so each column has its own sum.
"""

import numpy as np

from model.core.jit import Array, compiled

RADIUS = 5
"""Pixels of a window on each side of its centre."""
BLOCK = 16
"""Number of rows whose errors are summed in float32 before they are added in float64."""

_BIAS = np.float32(0.0037930732552754493)
_BIAS_ROOT = np.float32(np.cbrt(0.0037930732552754493))
_C2 = np.float32(0.0009)


@compiled
def linearise(pixels: Array, table: Array, out: Array) -> None:
    """Look up 8-bit values.

    Args:
        pixels: uint8 `[H, W, C]`.
        table: float32 `[256]`.
        out: float32 `[C, H, W]`, written.
    """
    for c in range(out.shape[0]):
        for r in range(out.shape[1]):
            row, values = out[c, r], pixels[r, :, c]
            for x in range(len(row)):
                row[x] = table[values[x]]


@compiled
def halve(planes: Array, out: Array) -> None:
    """Compute 2x2 means; at the end of an odd side, means of what is there.

    Args:
        planes: float32 `[N, H, W]`.
        out: float32 `[N, ceil(H / 2), ceil(W / 2)]`, written.
    """
    height, width = planes.shape[1], planes.shape[2]
    quarter, half = np.float32(0.25), np.float32(0.5)
    for n in range(out.shape[0]):
        for r in range(out.shape[1]):
            upper, lower = planes[n, 2 * r], planes[n, min(2 * r + 1, height - 1)]
            row = out[n, r]
            even, odd, even_below, odd_below = upper[0::2], upper[1::2], lower[0::2], lower[1::2]
            for x in range(width // 2):
                row[x] = quarter * ((even[x] + odd[x]) + (even_below[x] + odd_below[x]))
            if width % 2:
                row[width // 2] = half * (upper[width - 1] + lower[width - 1])


@compiled
def to_xyb(linear: Array, mixing: Array, out: Array) -> None:
    """Convert to scaled XYB in the order Y, X, B, the first planes of it: Y - 0.35, 14 X and B - Y, all near 0.

    Cube roots begin with a third of the exponent, about 3 % off; each of two steps of Halley's
    method triples the number of correct digits.

    Args:
        linear: linear light 0..1, float32 `[3, H, W]`, or `[1, H, W]` of grey, which has only Y.
        mixing: response of each kind of cone to red, green and blue, float32 `[3, 3]`.
        out: float32 `[1..3, H, W]`, written.
    """
    height, width = linear.shape[1], linear.shape[2]
    cones = 1 if linear.shape[0] == 1 else 2 if out.shape[0] < 3 else 3
    mixed, roots = np.empty((3, width), np.float32), np.empty((3, width), np.float32)
    two, half, seven, middle = np.float32(2), np.float32(0.5), np.float32(7), np.float32(0.35)
    third, guess = np.float32(1 / 3), np.float32(709921077)
    for r in range(height):
        for cone in range(cones):
            light, root = mixed[cone], roots[cone]
            if cones == 1:
                grey = linear[0, r]
                for x in range(width):
                    light[x] = grey[x] + _BIAS
            else:
                red, green, blue = linear[0, r], linear[1, r], linear[2, r]
                of_red, of_green, of_blue = mixing[cone, 0], mixing[cone, 1], mixing[cone, 2]
                for x in range(width):
                    light[x] = of_red * red[x] + of_green * green[x] + of_blue * blue[x] + _BIAS
            bits, guessed = light.view(np.int32), root.view(np.int32)
            for x in range(width):
                guessed[x] = np.int32(np.float32(bits[x]) * third + guess)
            for x in range(width):
                value, y = light[x], root[x]
                cube = y * y * y
                y = y * (cube + two * value) / (two * cube + value)
                cube = y * y * y
                root[x] = y * (cube + two * value) / (two * cube + value) - _BIAS_ROOT
        luminance, long = out[0, r], roots[0]
        medium = roots[min(1, cones - 1)]
        for x in range(width):
            luminance[x] = half * (long[x] + medium[x]) - middle
        if out.shape[0] > 1:
            opponent = out[1, r]
            for x in range(width):
                opponent[x] = seven * (long[x] - medium[x])
        if out.shape[0] > 2:
            short, difference = roots[2], out[2, r]
            for x in range(width):
                difference[x] = short[x] - half * (long[x] + medium[x])


@compiled
def blur_along(a: Array, b: Array, first: int, outside: float, window: Array, ring: Array) -> None:
    """Write some rows of a plane and their weighted means along the row into a ring.

    Args:
        a: rows of the original, float32 `[n, W]`.
        b: the same rows of the copy.
        first: index of the first row in the plane.
        outside: value left and right of the plane, float32.
        window: weights of the Gaussian at the centre and on one side, float32 `[6]`.
        ring: float32 `[6, R, W]`, R at least n + 10. Row i is written to index i modulo R: the
            original and its difference from the copy, then means of the original, of the
            difference, of the sum of the squares of both pictures, and of the squared difference.
    """
    width = a.shape[1]
    values = np.zeros((4, width + 2 * RADIUS), np.float32)
    values[0], values[2] = outside, outside * outside + outside * outside
    w0, w1, w2, w3, w4, w5 = window[0], window[1], window[2], window[3], window[4], window[5]
    inner = values[:, RADIUS : RADIUS + width]
    for r in range(len(a)):
        slot = (first + r) % ring.shape[1]
        row_a, row_b, squares, squared = a[r], b[r], inner[2], inner[3]
        kept, value = ring[0, slot], inner[0]
        for x in range(width):
            kept[x] = row_a[x]
            value[x] = row_a[x]
        kept, value = ring[1, slot], inner[1]
        for x in range(width):
            difference = row_a[x] - row_b[x]
            kept[x] = difference
            value[x] = difference
            squared[x] = difference * difference
        for x in range(width):
            squares[x] = row_a[x] * row_a[x] + row_b[x] * row_b[x]
        for m in range(4):
            v, out = values[m], ring[2 + m, slot]
            l5, l4, l3, l2, l1, c0 = v[0:], v[1:], v[2:], v[3:], v[4:], v[5:]
            r1, r2, r3, r4, r5 = v[6:], v[7:], v[8:], v[9:], v[10:]
            for x in range(width):
                near = w0 * c0[x] + w1 * (l1[x] + r1[x]) + w2 * (l2[x] + r2[x])
                out[x] = near + (w3 * (l3[x] + r3[x]) + w4 * (l4[x] + r4[x]) + w5 * (l5[x] + r5[x]))


@compiled
def add_errors(begin: int, end: int, height: int, window: Array, ring: Array, partial: Array, sums: Array) -> None:
    """Add the errors of some rows whose windows `blur_along` has filled; the plane is mirrored above and below.

    The error of structure is 1 - (1 - m^2) (2 c + C) / (v + C), with m the difference of the means,
    c the covariance and v the sum of the variances. With u, the variance of the difference, 2 c is
    v - u, and the error is (u + m^2 (v - u + C)) / (v + C): where pictures are nearly equal, u and
    m are small numbers, which float32 represents exactly enough.

    Args:
        begin: the first row.
        end: the row after the last.
        height: of the plane, at least 5.
        window: as in `blur_along`.
        ring: as in `blur_along`.
        partial: sums that are not yet in `sums`, float32 `[6, W]`; zeros at first.
        sums: per column the error and its fourth power, for structure, added artefacts and lost
            detail, float64 `[6, W]`.
    """
    width, depth = ring.shape[2], ring.shape[1]
    maps, errors = np.empty((4, width), np.float32), np.empty((2, width), np.float32)
    slots = np.empty(2 * RADIUS + 1, np.int64)
    one, zero = np.float32(1), np.float32(0)
    w0, w1, w2, w3, w4, w5 = window[0], window[1], window[2], window[3], window[4], window[5]
    for r in range(begin, end):
        for t in range(2 * RADIUS + 1):
            place = r + t - RADIUS
            place = -1 - place if place < 0 else place
            slots[t] = (2 * height - 1 - place if place >= height else place) % depth
        for m in range(4):
            rows, out = ring[2 + m], maps[m]
            c0, u1, d1, u2, d2 = rows[slots[5]], rows[slots[4]], rows[slots[6]], rows[slots[3]], rows[slots[7]]
            for x in range(width):
                out[x] = w0 * c0[x] + w1 * (u1[x] + d1[x]) + w2 * (u2[x] + d2[x])
            u3, d3, u4, d4 = rows[slots[2]], rows[slots[8]], rows[slots[1]], rows[slots[9]]
            u5, d5 = rows[slots[0]], rows[slots[10]]
            for x in range(width):
                out[x] += w3 * (u3[x] + d3[x]) + w4 * (u4[x] + d4[x]) + w5 * (u5[x] + d5[x])
        mean, apart, squares, squared, error, edges = maps[0], maps[1], maps[2], maps[3], errors[0], errors[1]
        for x in range(width):
            of_copy, off = mean[x] - apart[x], apart[x] * apart[x]
            both = squares[x] - (mean[x] * mean[x] + of_copy * of_copy) + _C2
            of_difference = squared[x] - off
            error[x] = max((of_difference + off * (both - of_difference)) / both, zero)
        row, difference = ring[0, slots[RADIUS]], ring[1, slots[RADIUS]]
        for x in range(width):
            edge = row[x] - mean[x]
            of_copy = edge - (difference[x] - apart[x])
            edges[x] = (abs(of_copy) - abs(edge)) / (one + abs(edge))
        for kind in range(3):
            values, norm1, norm4 = errors[min(kind, 1)], partial[2 * kind], partial[2 * kind + 1]
            sign = np.float32(-1) if kind == 2 else one
            for x in range(width):
                value = max(sign * values[x], zero)
                norm1[x] += value
                norm4[x] += (value * value) * (value * value)
        if r % BLOCK == BLOCK - 1 or r == height - 1:
            for k in range(6):
                column, total = partial[k], sums[k]
                for x in range(width):
                    total[x] += column[x]
                    column[x] = zero
