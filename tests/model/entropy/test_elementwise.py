"""Compiled kernels and tensor operators give the same bits."""

import pytest
import torch

from model.bitstream.coding_passes import PASSES, Sublattice, sublattices
from model.core.config import CodecConfig
from model.entropy import elementwise
from model.entropy.elementwise import CodedWindow, LookupTables
from model.entropy.entropy_model import EntropyModel
from model.network.network import Network

SHAPE = (2, 7, 5, 18)
"""Odd sides, and groups of channels of different sizes."""
SUBLATTICES = [sublattice for number in range(PASSES) for sublattice in sublattices(number)]


@pytest.fixture(scope="module")
def tables() -> LookupTables:
    torch.manual_seed(0)
    network = Network(CodecConfig(patch_channels=16, latent_channels=18))
    torch.nn.init.uniform_(network.prior.offset, -0.1, 0.3)
    return EntropyModel(network.means, network.scales, network.prior).tables


def numbers(sublattice: Sublattice, spread: float) -> torch.Tensor:
    positions = torch.empty(SHAPE)[sublattice.slices]
    return torch.randn(SHAPE[0], positions.shape[1] * positions.shape[2], positions.shape[3]) * spread


@pytest.mark.parametrize("sublattice", SUBLATTICES, ids=str)
def test_quantising_and_its_inverse(sublattice: Sublattice, tables: LookupTables) -> None:
    torch.manual_seed(1)
    y, gain = torch.randn(SHAPE) * 30, torch.rand(SHAPE[0], 1, 1, SHAPE[3]) * 40
    y[0, 1:5] *= 1e-3
    mean, sums = numbers(sublattice, 2), numbers(sublattice, 40)
    compiled, tensors = CodedWindow.nothing(y), CodedWindow.nothing(y)
    elementwise.quantise(y, mean, sums, gain, tables, sublattice, compiled)
    elementwise._quantise(y, mean, sums, gain, tables, sublattice, tensors)
    assert compiled.symbols.abs().max() > 255
    for name in ("symbols", "indices", "latent", "sizes"):
        assert torch.equal(getattr(compiled, name), getattr(tensors, name)), name
    latent, again = torch.zeros(SHAPE), torch.zeros(SHAPE)
    small = compiled.symbols.to(torch.int16)
    elementwise.dequantise(small, compiled.indices, mean, gain, tables, sublattice, latent)
    elementwise._dequantise(small, compiled.indices, mean, gain, tables, sublattice, again)
    assert torch.equal(latent, compiled.latent), "the decoder's latents are those that the encoder measured"
    assert torch.equal(again, compiled.latent)
    indices = torch.zeros(SHAPE, dtype=torch.uint8)
    elementwise.scale_indices(sums, sublattice, indices)
    assert torch.equal(indices, compiled.indices)
    others = torch.ones(SHAPE, dtype=torch.bool)
    others[sublattice.slices] = False
    assert not compiled.symbols[others].any()
    assert not compiled.latent[others].any()


@pytest.mark.parametrize("dtype", [torch.int16, torch.int32])
def test_log_sizes_and_sums_over_neighbours(dtype: torch.dtype, tables: LookupTables) -> None:
    torch.manual_seed(2)
    symbols = (torch.randn(SHAPE) * 200).to(dtype)
    sizes = elementwise.sizes_of(symbols, tables)
    assert torch.equal(sizes, elementwise._sizes_of(symbols, tables))
    weight = torch.randint(-255, 256, (9, SHAPE[3])) / 128
    near = elementwise.neighbours(sizes, weight)
    assert torch.equal(near, elementwise._neighbours(sizes, weight))
    assert 0 < near.to(torch.bool).float().mean() < 1
