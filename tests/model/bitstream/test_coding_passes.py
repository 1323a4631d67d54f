"""The passes cover every latent once, and later passes have known neighbours."""

import numpy as np
import pytest

from model.bitstream.coding_passes import PASSES, pass_map, pass_of, sublattices


@pytest.mark.parametrize("shape", [(1, 1, 4), (3, 5, 16), (8, 8, 64)])
def test_every_latent_is_in_one_pass(shape: tuple[int, int, int]) -> None:
    passes = pass_map(*shape)
    assert passes.shape == shape
    assert set(np.unique(passes)) <= set(range(PASSES))


def test_a_quarter_is_coded_first_a_quarter_second_and_a_half_last() -> None:
    assert np.bincount(pass_map(8, 8, 16).ravel()).tolist() == [256, 256, 512]


def test_latents_of_the_last_pass_have_only_known_neighbours() -> None:
    passes = pass_map(9, 9, 4)
    last = np.argwhere(passes[1:-1, 1:-1] == PASSES - 1) + np.array([1, 1, 0])
    assert len(last) > 50
    for y, x, c in last:
        beside = [passes[y - 1, x, c], passes[y + 1, x, c], passes[y, x - 1, c], passes[y, x + 1, c]]
        assert max(beside) < PASSES - 1


def test_every_position_has_known_channels_after_the_first_pass() -> None:
    assert (pass_map(6, 7, 4) == 0).any(-1).all()


def test_a_crop_at_even_positions_has_the_same_order() -> None:
    whole = pass_map(12, 12, 8)
    assert np.array_equal(whole[4:, 2:], pass_map(8, 10, 8))


def test_sublattices_and_single_positions_give_the_same_passes() -> None:
    shape = (7, 5, 10)
    passes = pass_map(*shape)
    found = np.full(shape, 9, np.uint8)
    for number in range(PASSES):
        for sublattice in sublattices(number):
            found[None][sublattice.slices] = number
    assert np.array_equal(found, passes)
    assert np.array_equal(pass_of(np.arange(passes.size), shape), passes.reshape(-1))
