"""What coding does to single numbers, at the places of a pass: by compiled kernels on a CPU, by tensors elsewhere.

Both give the same bits. Latents are `[B, h, w, M]`; a place holds N positions and n channels of them.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.bitstream.coding_passes import GROUPS, Sublattice
from model.bitstream.probability_tables import SCALES
from model.entropy import elementwise_numba
from model.entropy.rdo_quantisation import to_symbols
from model.layers.fixed_point import WEIGHT_BITS


@dataclass(frozen=True, eq=False, slots=True)
class LookupTables:
    """What is looked up for a number.

    Attributes:
        limits: where the encoder rounds up, float `[SCALES, 2]` (`model.entropy.rdo_quantisation`).
        offsets: where in their bins symbols of sizes 0, 1 and more are reconstructed, float `[SCALES, 3]`.
        log_sizes: of 0, 1 ... 255, uint8 `[256]`.
    """

    limits: Tensor
    offsets: Tensor
    log_sizes: Tensor


@dataclass(frozen=True, eq=False, slots=True)
class CodedWindow:
    """What is known of a window of latents, pass by pass; zero where nothing is.

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
        """Of latents of that shape on that device."""
        b, h, w, m = like.shape

        def zeros(dtype: torch.dtype, border: int = 0) -> Tensor:
            return torch.zeros(b, h + 2 * border, w + 2 * border, m, dtype=dtype, device=like.device)

        return cls(zeros(torch.int32), zeros(torch.uint8), zeros(torch.float32), zeros(torch.uint8, 1))


def neighbours(sizes: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums over 3x3 neighbours, rounded and clipped to whole numbers 0..255, float32 `[B, h, w, M]`.

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


def sizes_of(symbols: Tensor, tables: LookupTables) -> Tensor:
    """Log-sizes of whole numbers, uint8 `[B, h + 2, w + 2, M]`."""
    if symbols.device.type != "cpu":
        return _sizes_of(symbols, tables)
    b, h, w, m = symbols.shape
    out = torch.zeros(b, h + 2, w + 2, m, dtype=torch.uint8)
    for i in range(b):
        elementwise_numba.sizes(symbols[i].numpy(), tables.log_sizes.numpy(), out[i].numpy())
    return out


def scale_indices(sums: Tensor, place: Sublattice, indices: Tensor) -> None:
    """Round sums down and clip them to indices.

    Args:
        sums: float `[B, N, n]`.
        place: where they are.
        indices: uint8 `[B, h, w, M]`, written to.
    """
    if sums.device.type != "cpu":
        _scale_indices(sums, place, indices)
        return
    for i in range(len(sums)):
        elementwise_numba.scale_indices(sums[i].numpy(), _where(place), indices[i].numpy())


def to_indices(sums: Tensor) -> Tensor:
    """Sums rounded down and clipped, uint8."""
    return sums.floor().clamp_(0, SCALES - 1).to(torch.uint8)


def quantise(
    y: Tensor, mean: Tensor, sums: Tensor, gain: Tensor, tables: LookupTables, place: Sublattice, out: CodedWindow
) -> None:
    """Round latents, and note all that follows from that.

    Args:
        y: float32 `[B, h, w, M]`.
        mean: float32 `[B, N, n]`.
        sums: of the scale indices, `[B, N, n]`.
        gain: float32 `[B, 1, 1, M]`.
        tables: of the model.
        place: where.
        out: written to.
    """
    if y.device.type != "cpu":
        _quantise(y, mean, sums, gain, tables, place, out)
        return
    lookups = (tables.limits.numpy(), tables.offsets.numpy(), tables.log_sizes.numpy())
    for i in range(len(y)):
        known = (x[i].numpy() for x in (y, mean, sums))
        written = (x[i].numpy() for x in (out.symbols, out.indices, out.latent, out.sizes))
        elementwise_numba.quantise(*known, gain[i, 0, 0].numpy(), *lookups, _where(place), *written)


def dequantise(
    symbols: Tensor,
    indices: Tensor,
    mean: Tensor,
    gain: Tensor,
    tables: LookupTables,
    place: Sublattice,
    latent: Tensor,
) -> None:
    """The latents that whole numbers stand for.

    Args:
        symbols: int16 or int32 `[B, h, w, M]`.
        indices: uint8 `[B, h, w, M]`.
        mean: float32 `[B, N, n]`.
        gain: float32 `[B, 1, 1, M]`.
        tables: of the model.
        place: where.
        latent: float32 `[B, h, w, M]`, written to.
    """
    if symbols.device.type != "cpu":
        _dequantise(symbols, indices, mean, gain, tables, place, latent)
        return
    for i in range(len(symbols)):
        known = (x[i].numpy() for x in (symbols, indices, mean))
        elementwise_numba.dequantise(
            *known, gain[i, 0, 0].numpy(), tables.offsets.numpy(), _where(place), latent[i].numpy()
        )


def _where(place: Sublattice) -> tuple[int, int, int, int]:
    return place.a, place.b, place.group, GROUPS


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


def _scale_indices(sums: Tensor, place: Sublattice, indices: Tensor) -> None:
    here = indices[place.slices]
    here.copy_(to_indices(sums).view(here.shape))


def _quantise(
    y: Tensor, mean: Tensor, sums: Tensor, gain: Tensor, tables: LookupTables, place: Sublattice, out: CodedWindow
) -> None:
    _scale_indices(sums, place, out.indices)
    mine = y[place.slices]
    fresh = to_symbols(
        (mine - mean.view(mine.shape)).mul_(gain[..., place.channels]), out.indices[place.slices], tables.limits
    )
    out.symbols[place.slices] = fresh.to(torch.int32)
    out.sizes[:, 1:-1, 1:-1][place.slices] = _sizes_of(fresh, tables)[:, 1:-1, 1:-1]
    _dequantise(out.symbols, out.indices, mean, gain, tables, place, out.latent)


def _dequantise(
    symbols: Tensor,
    indices: Tensor,
    mean: Tensor,
    gain: Tensor,
    tables: LookupTables,
    place: Sublattice,
    latent: Tensor,
) -> None:
    symbol, index = symbols[place.slices].to(torch.float32), indices[place.slices].to(torch.int64)
    size = symbol.abs()
    moved = size - torch.take(tables.offsets, index.mul_(3).add_(size.clamp(max=2).to(torch.int64)))
    latent[place.slices] = (moved * torch.sign(symbol)).div_(gain[..., place.channels]).add_(mean.view(symbol.shape))
