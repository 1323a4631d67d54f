"""The transform that training starts from is orthonormal."""

import torch

from model.layers.dct import dct_rows, hadamard_rows


def test_dct_rows_are_orthonormal() -> None:
    rows, frequencies = dct_rows(192)
    assert torch.allclose(rows @ rows.T, torch.eye(192), atol=1e-5)
    assert len(set(frequencies)) == 192


def test_fewer_dct_rows_are_the_first_of_all() -> None:
    assert torch.equal(dct_rows(40)[0], dct_rows(192)[0][:40])


def test_the_first_dct_row_is_the_mean_of_the_patch() -> None:
    first = dct_rows(1)[0][0]
    assert torch.allclose(first, torch.full((192,), 192**-0.5))


def test_hadamard_rows_are_orthonormal() -> None:
    _, frequencies = dct_rows(24)
    rows = hadamard_rows(frequencies, 96)
    assert torch.allclose(rows @ rows.T, torch.eye(96), atol=1e-6)


def test_the_strongest_hadamard_row_averages_the_means_of_four_patches() -> None:
    _, frequencies = dct_rows(24)
    strongest = hadamard_rows(frequencies, 1)[0].reshape(4, 24)
    assert torch.equal(strongest[:, 0], torch.full((4,), 0.5))
    assert strongest[:, 1:].abs().max() == 0
