"""Elementwise operations of coding, on one sublattice: compiled kernels on a CPU, tensor operators elsewhere.

Both give the same bits. Latents are `[B, h, w, M]`; a sublattice has N of their positions and n of
their channels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.bitstream.coding_passes import GROUPS, Sublattice
from model.bitstream.probability_tables import SCALES
from model.entropy import elementwise_numba
from model.entropy.integer_linear import IntegerLinear
from model.entropy.rdo_quantisation import to_symbols
from model.layers.fixed_point import WEIGHT_BITS


@dataclass(frozen=True, eq=False, slots=True)
class LookupTables:
    """Tables by scale index or symbol.

    Attributes:
        limits: thresholds of the encoder's rounding, float `[SCALES, 2]`
            (`model.entropy.rdo_quantisation`).
        offsets: shift of the reconstruction of symbols with absolute value 0, 1 and more, float
            `[SCALES, 3]`.
        log_sizes: log-sizes of 0, 1 ... 255, uint8 `[256]` (`model.entropy.scale_path.log_size`).
    """

    limits: Tensor
    offsets: Tensor
    log_sizes: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class CodedWindow:
    """The part of a window of latents that is coded so far; zero elsewhere.

    Attributes:
        symbols: int32 `[B, h, w, M]`.
        indices: uint8, of the same shape.
        latent: float32, of the same shape.
        sizes: log-sizes of the symbols, uint8 `[B, h + 2, w + 2, M]`, with a border of zeros.
    """

    symbols: Tensor
    indices: Tensor
    latent: Tensor
    sizes: Tensor

    @classmethod
    def nothing(cls, like: Tensor) -> "CodedWindow":
        """No latents coded yet, for latents of that shape on that device."""
        b, h, w, m = like.shape

        def zeros(dtype: torch.dtype, border: int = 0) -> Tensor:
            return torch.zeros(b, h + 2 * border, w + 2 * border, m, dtype=dtype, device=like.device)

        return cls(zeros(torch.int32), zeros(torch.uint8), zeros(torch.float32), zeros(torch.uint8, 1))


def neighbours(sizes: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums over 3x3 neighbourhoods, rounded and clipped to integers 0..255, float32 `[B, h, w, M]`.

    Args:
        sizes: uint8 `[B, h + 2, w + 2, M]`.
        weight: multiples of 2^-7, float `[9, M]`.
    """
    b, h, w, m = sizes.shape[0], sizes.shape[1] - 2, sizes.shape[2] - 2, sizes.shape[3]
    if sizes.device.type != "cpu":
        return _neighbours(sizes, weight)
    out, units = torch.empty(b, h, w, m), (weight * 2**WEIGHT_BITS).to(torch.int32)
    for i in range(b):
        elementwise_numba.neighbours(sizes[i].numpy(), units.numpy(), out[i].numpy())
    return out


def join(narrow: Tensor, sizes: Tensor, weight: Tensor, layer: IntegerLinear) -> Tensor:
    """Input of `layer` on a CPU: features of z beside `neighbours`, uint8 `[B * h * w, I]`.

    Args:
        narrow: uint8 `[B, h, w, S]`.
        sizes: uint8 `[B, h + 2, w + 2, M]`.
        weight: as for `neighbours`.
        layer: the layer.
    """
    b, h, w, s = narrow.shape
    out = torch.empty(b, h, w, s + sizes.shape[3] + len(layer.again), dtype=torch.uint8)
    units = (weight * 2**WEIGHT_BITS).to(torch.int16).numpy()
    for i in range(b):
        elementwise_numba.join(narrow[i].numpy(), sizes[i].numpy(), units, layer.again, out[i].numpy())
    return out.flatten(0, 2)


def rows_of(features: Tensor, sublattice: Sublattice, layer: IntegerLinear) -> Tensor:
    """Input of `layer` on a CPU: features `[B, h, w, C]` at a sublattice's positions, uint8 `[B * N, I]`."""
    b, h, w, c = features.shape
    count = len(range(sublattice.a, h, 2)) * len(range(sublattice.b, w, 2))
    out = torch.empty(b, count, c + len(layer.again), dtype=torch.uint8)
    for i in range(b):
        elementwise_numba.rows_of(features[i].numpy(), _where(sublattice), layer.again, out[i].numpy())
    return out.flatten(0, 1)


def sizes_of(symbols: Tensor, tables: LookupTables) -> Tensor:
    """Log-sizes of symbols, uint8 `[B, h + 2, w + 2, M]`, with a border of zeros."""
    if symbols.device.type != "cpu":
        return _sizes_of(symbols, tables)
    b, h, w, m = symbols.shape
    out = torch.zeros(b, h + 2, w + 2, m, dtype=torch.uint8)
    for i in range(b):
        elementwise_numba.sizes(symbols[i].numpy(), tables.log_sizes.numpy(), out[i].numpy())
    return out


def scale_indices(sums: Tensor, sublattice: Sublattice, indices: Tensor) -> None:
    """Round sums down and clip them to scale indices.

    Args:
        sums: float, or uint8 on a CPU, `[B, N, n]`.
        sublattice: of the sums.
        indices: the output, uint8 `[B, h, w, M]`.
    """
    if sums.device.type != "cpu":
        _scale_indices(sums, sublattice, indices)
        return
    for i in range(len(sums)):
        elementwise_numba.scale_indices(sums[i].numpy(), _where(sublattice), indices[i].numpy())


def to_indices(sums: Tensor) -> Tensor:
    """Sums rounded down and clipped to scale indices, uint8."""
    return sums.floor().clamp_(0, SCALES - 1).to(torch.uint8)


def quantise(
    y: Tensor, mean: Tensor, sums: Tensor, gain: Tensor, tables: LookupTables, sublattice: Sublattice, out: CodedWindow
) -> None:
    """Round latents to symbols, and store what follows from those.

    Args:
        y: float32 `[B, h, w, M]`.
        mean: float32 `[B, N, n]`.
        sums: scale indices before rounding, float32, or uint8 on a CPU, `[B, N, n]`.
        gain: float32 `[B, 1, 1, M]`.
        tables: of the model.
        sublattice: of the mean and the sums.
        out: the output.
    """
    if y.device.type != "cpu":
        _quantise(y, mean, sums, gain, tables, sublattice, out)
        return
    lookups = (tables.limits.numpy(), tables.offsets.numpy(), tables.log_sizes.numpy())
    for i in range(len(y)):
        known = (x[i].numpy() for x in (y, mean, sums))
        written = (x[i].numpy() for x in (out.symbols, out.indices, out.latent, out.sizes))
        elementwise_numba.quantise(*known, gain[i, 0, 0].numpy(), *lookups, _where(sublattice), *written)


def dequantise(
    symbols: Tensor,
    indices: Tensor,
    mean: Tensor,
    gain: Tensor,
    tables: LookupTables,
    sublattice: Sublattice,
    latent: Tensor,
) -> None:
    """Reconstruct latents from symbols.

    Args:
        symbols: int16 or int32 `[B, h, w, M]`.
        indices: uint8 `[B, h, w, M]`.
        mean: float32 `[B, N, n]`.
        gain: float32 `[B, 1, 1, M]`.
        tables: of the model.
        sublattice: of the mean and the sums.
        latent: the output, float32 `[B, h, w, M]`.
    """
    if symbols.device.type != "cpu":
        _dequantise(symbols, indices, mean, gain, tables, sublattice, latent)
        return
    for i in range(len(symbols)):
        known = (x[i].numpy() for x in (symbols, indices, mean))
        elementwise_numba.dequantise(
            *known, gain[i, 0, 0].numpy(), tables.offsets.numpy(), _where(sublattice), latent[i].numpy()
        )


def _where(sublattice: Sublattice) -> tuple[int, int, int, int]:
    return sublattice.a, sublattice.b, sublattice.group, GROUPS


def _neighbours(sizes: Tensor, weight: Tensor) -> Tensor:
    h, w = sizes.shape[1] - 2, sizes.shape[2] - 2
    padded = sizes.to(torch.float32)
    total = torch.full((len(sizes), h, w, sizes.shape[3]), 0.5, device=sizes.device)
    for i, row_of_weights in enumerate(weight):
        row, column = divmod(i, 3)
        total.addcmul_(padded[:, row : row + h, column : column + w], row_of_weights)
    return total.floor_().clamp_(0, 255)


def _sizes_of(symbols: Tensor, tables: LookupTables) -> Tensor:
    largest = len(tables.log_sizes) - 1
    found = torch.take(tables.log_sizes, symbols.to(torch.int64).abs_().clamp_(max=largest))
    return F.pad(found, (0, 0, 1, 1, 1, 1))


def _scale_indices(sums: Tensor, sublattice: Sublattice, indices: Tensor) -> None:
    here = indices[sublattice.slices]
    here.copy_(to_indices(sums).view(here.shape))


def _quantise(
    y: Tensor, mean: Tensor, sums: Tensor, gain: Tensor, tables: LookupTables, sublattice: Sublattice, out: CodedWindow
) -> None:
    _scale_indices(sums, sublattice, out.indices)
    mine = y[sublattice.slices]
    residual = (mine - mean.view(mine.shape)).mul_(gain[..., sublattice.channels])
    fresh = to_symbols(residual, out.indices[sublattice.slices], tables.limits)
    out.symbols[sublattice.slices] = fresh.to(torch.int32)
    out.sizes[:, 1:-1, 1:-1][sublattice.slices] = _sizes_of(fresh, tables)[:, 1:-1, 1:-1]
    _dequantise(out.symbols, out.indices, mean, gain, tables, sublattice, out.latent)


def _dequantise(
    symbols: Tensor,
    indices: Tensor,
    mean: Tensor,
    gain: Tensor,
    tables: LookupTables,
    sublattice: Sublattice,
    latent: Tensor,
) -> None:
    symbol, index = symbols[sublattice.slices].to(torch.float32), indices[sublattice.slices].to(torch.int64)
    size = symbol.abs()
    moved = size - torch.take(tables.offsets, index.mul_(3).add_(size.clamp(max=2).to(torch.int64)))
    scaled = (moved * torch.sign(symbol)).div_(gain[..., sublattice.channels])
    latent[sublattice.slices] = scaled.add_(mean.view(symbol.shape))
