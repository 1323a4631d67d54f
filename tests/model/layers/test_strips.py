"""Strip by strip the transforms give what their layers give for the whole picture."""

import pytest
import torch
from torch import Tensor

from model.core.config import CodecConfig
from model.layers import strips
from model.layers.blocks import Blocks, blocks, in_strips, set_compute_dtype
from model.network.transforms import Analysis, Synthesis

CONFIG = CodecConfig(
    patch_channels=16, latent_channels=24, hyper_channels=8, analysis_blocks=(2, 1), synthesis_blocks=(1, 3)
)


@pytest.fixture(autouse=True, params=[1, 700, 1 << 19], ids=["a row", "some rows", "all rows"])
def size_of_a_strip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "VALUES", request.param)


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return network


def both(call: object, x: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
    """The results in strips and as in training."""
    assert callable(call)
    with torch.inference_mode():
        assert in_strips(x)
        stripped = call(x, *more)
    return stripped, call(x, *more).detach()


def test_blocks_give_their_output_and_leave_their_input_as_it_was() -> None:
    network = randomised(blocks(16, 4))
    for shape in ((2, 5, 7, 16), (3, 1, 1, 16), (1, 9, 1, 16), (1, 1, 6, 16)):
        x = torch.randn(shape)
        kept = x.clone()
        stripped, whole = both(network, x)
        torch.testing.assert_close(stripped, whole, rtol=1e-4, atol=1e-4)
        assert torch.equal(x, kept)


def test_no_blocks_are_the_identity() -> None:
    x = torch.randn(1, 3, 3, 4)
    with torch.inference_mode():
        assert torch.equal(Blocks()(x), x)


def test_sums_for_bfloat16_are_rounded_to_the_nearest() -> None:
    network, x = randomised(blocks(16, 1)), torch.randn(1, 12, 13, 16)
    exact = both(network, x)[1]
    set_compute_dtype(network, torch.bfloat16, final=True)
    stripped, whole = both(network, x)
    assert 0 < (stripped - exact).square().mean() <= 1.05 * (whole - exact).square().mean()


def test_analysis_of_pixels() -> None:
    analysis = randomised(Analysis(CONFIG))
    stripped, whole = both(analysis, torch.randint(0, 256, (2, 48, 80, 3), dtype=torch.uint8))
    torch.testing.assert_close(stripped, whole, rtol=1e-4, atol=1e-4)


def test_synthesis_of_levels() -> None:
    synthesis = randomised(Synthesis(CONFIG))
    assert isinstance(synthesis, Synthesis)
    y, quality = torch.randn(2, 3, 5, 24), torch.tensor([3, 50])
    stripped, whole = both(synthesis.levels, y, quality)
    assert stripped.shape == (2, 48, 80, 3)
    assert len(stripped.unique()) > 50
    assert (stripped.int() - whole.int()).abs().max() <= 1
    assert (stripped != whole).float().mean() < 0.01
    torch.testing.assert_close(*both(synthesis, y, quality), rtol=1e-4, atol=1e-4)
