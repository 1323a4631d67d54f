import torch

from model.layers.precision import denormals_as_zero


def test_tiny_numbers_are_zero_within_the_context_only() -> None:
    tiny = torch.full((64,), 1e-39)
    with denormals_as_zero():
        assert float((tiny * 0.9).sum()) == 0
    assert float((tiny * 0.9).sum()) > 0


def test_a_thread_that_treats_them_as_zero_already_still_does_so_afterwards() -> None:
    tiny = torch.full((64,), 1e-39)
    with denormals_as_zero():
        with denormals_as_zero():
            pass
        assert float((tiny * 0.9).sum()) == 0
