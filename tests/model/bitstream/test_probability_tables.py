"""Probability tables sum to 2^24, the entropy coder uses them exactly, and they cost what training estimates."""

import numpy as np
import pytest
import torch

from model.bitstream import stream
from model.bitstream.packed_tables import PackedTables
from model.bitstream.probability_tables import (
    HYPER_GROUP,
    HYPER_MAX,
    SCALES,
    TOTAL,
    Tables,
    mixture_counts,
    scale_table,
    to_counts,
)
from model.bitstream.stream import WHOLE, Part
from model.core.config import QUALITIES
from model.entropy.priors import HyperPrior, LatentPrior


@pytest.fixture
def priors() -> tuple[LatentPrior, HyperPrior]:
    torch.manual_seed(0)
    latent, hyper = LatentPrior(), HyperPrior(3)
    with torch.no_grad():
        for parameter in (*latent.parameters(), *hyper.parameters()):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return latent, hyper


def test_counts_sum_to_the_total_and_none_is_zero(priors: tuple[LatentPrior, HyperPrior]) -> None:
    latent, hyper = priors[0].tables(), priors[1].table()
    assert len(latent) == SCALES
    assert hyper.shape == (QUALITIES // HYPER_GROUP, 3, 2 * HYPER_MAX + 1)
    for table in (*latent, *hyper.reshape(-1, hyper.shape[-1])):
        assert table.sum(dtype=np.int64) == TOTAL
        assert table.min() >= 1
    assert Tables(latent, hyper).are_sound()


@pytest.mark.parametrize("sigma", [1e-4, 0.13, 0.5, 3.0, 128.0])
def test_latent_tables_are_symmetric_about_zero_and_fall_off(sigma: float) -> None:
    counts = mixture_counts([sigma, 1.5 * sigma], [0.5, 0.5]).astype(np.int64)
    assert counts.size % 2 == 1
    assert np.abs(counts - counts[::-1]).max() <= 1
    # The outermost counts include everything beyond.
    assert (np.diff(counts[counts.size // 2 : -1]) <= 0).all()


def test_zero_probabilities_become_counts_of_at_least_1() -> None:
    counts = to_counts(np.array([[0.0, 1.0, 0.0], [1e-30, 1e-30, 1.0]]))
    assert counts.tolist() == [[1, TOTAL - 2, 1], [1, 1, TOTAL - 2]]


@pytest.mark.parametrize("change", ["sum", "zero", "sign", "missing", "even", "dtype"])
def test_unusable_tables_are_not_sound(priors: tuple[LatentPrior, HyperPrior], change: str) -> None:
    latent, hyper = priors[0].tables(), priors[1].table()
    if change == "sum":
        latent[5][0] += 1
    elif change == "zero":
        hyper[0, 0, 0:2] = 0, hyper[0, 0, 0:2].sum()
    elif change == "sign":
        latent[5][:2] = -1, latent[5][:2].sum() + 1
    elif change == "missing":
        latent.pop()
    elif change == "even":
        latent[0] = np.array([1, TOTAL - 1], np.int32)
    else:
        latent[0] = latent[0].astype(np.int64)
    assert not Tables(latent, hyper).are_sound()


@pytest.mark.parametrize("scale", [1, 20, 40, SCALES - 1])
def test_the_entropy_coder_gives_each_symbol_exactly_its_count(
    priors: tuple[LatentPrior, HyperPrior], scale: int
) -> None:
    counts = priors[0].tables()[scale]
    tables, limit = PackedTables.of([counts]), counts.size // 2
    for symbol in {-limit, -1, 0, limit}:
        symbols = np.full((4000, 1, 1), symbol, np.int32)
        data, beyond = stream.write([Part(symbols, np.ones(symbols.shape, np.uint8), WHOLE, tables)])
        state = int.from_bytes(data[1:9], "little")
        bits = np.log2(state) - 32 + 8 * len(data[9:])
        assert not beyond
        assert bits / 4000 == pytest.approx(np.log2(TOTAL / int(counts[symbol + limit])), abs=0.001)


def test_a_table_costs_what_the_prior_estimates(priors: tuple[LatentPrior, HyperPrior]) -> None:
    latent, hyper = priors
    for index, table in enumerate(latent.tables()):
        limit = table.size // 2
        symbols = torch.arange(-limit + 1, limit)  # the outermost include everything beyond
        estimated = latent.bits(symbols.float(), torch.full(symbols.shape, float(index)))
        cost = np.log2(TOTAL / table[1:-1].astype(np.float64))
        likely = table[1:-1] > 1000
        # Rounding thousands of counts down leaves up to 3 % more for the most probable one.
        assert np.allclose(estimated.detach().numpy()[likely], cost[likely], atol=0.05)
    z = torch.arange(-HYPER_MAX, HYPER_MAX + 1).float()[None, :, None, None].expand(1, -1, 1, 3)
    for group, table in enumerate(hyper.table()):
        estimated = hyper(z, torch.tensor([group * HYPER_GROUP]))[0, :, 0].T.detach().numpy()
        cost = np.log2(TOTAL / table.astype(np.float64))
        assert np.allclose(estimated[table > 1000], cost[table > 1000], atol=0.02)


def test_index_0_is_rarely_wrong_about_zero(priors: tuple[LatentPrior, HyperPrior]) -> None:
    assert scale_table()[0] == 0.13
    counts = mixture_counts([scale_table()[0]], [1.0])
    assert 1 - counts[counts.size // 2] / TOTAL < 1 / 8000


def test_reconstruction_points_lie_within_their_bin_and_are_odd(priors: tuple[LatentPrior, HyperPrior]) -> None:
    latent = priors[0]
    symbols, index = torch.arange(-5.0, 6.0), torch.full((11,), 30.0)
    points = latent.reconstruct(symbols, index)
    assert points[5] == 0
    assert torch.equal(points, -points.flip(0))
    offsets = latent.offset[30].tolist()
    assert (symbols - points)[6:8].tolist() == pytest.approx(offsets, abs=1e-6)
