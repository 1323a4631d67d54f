"""The projection error is zero for smooth blocks and large for what the initial transform drops."""

import pytest
import torch

from model.core.config import BLOCK_VALUES, CodecConfig
from model.inference.projection_error import kept_rows, projection_error
from model.network.transforms import Analysis

CONFIG = CodecConfig()


def test_the_kept_rows_are_orthonormal() -> None:
    rows, luma = kept_rows(CONFIG)
    assert rows.shape == (CONFIG.latent_channels, BLOCK_VALUES)
    torch.testing.assert_close(rows @ rows.T, torch.eye(CONFIG.latent_channels), atol=1e-5, rtol=0)
    assert 0 < int(luma.sum()) < len(rows)


def test_the_kept_rows_are_the_untrained_analysis_transform() -> None:
    blocks = torch.rand(5, 16, 16, 3)
    analysis = Analysis(CONFIG).eval()
    for block in (*analysis.fine, *analysis.coarse):  # before training a block is the identity
        torch.nn.init.zeros_(block.project.bias)
    with torch.no_grad():
        y = analysis(blocks).reshape(5, -1)
    rows, _ = kept_rows(CONFIG)
    torch.testing.assert_close((blocks - 0.5).reshape(5, BLOCK_VALUES) @ rows.T, y, atol=1e-4, rtol=0)


def test_smooth_blocks_have_no_projection_error() -> None:
    ramp = torch.linspace(0, 255, 16).round().to(torch.uint8)[None, :, None].expand(16, 16, 3)
    assert float(projection_error(torch.stack([ramp, torch.full_like(ramp, 77)]), CONFIG).amax()) < 1e-4


@pytest.mark.parametrize(("colour", "in_luma"), [((1, 1, 1), True), ((1, 0, -1), False)])
def test_a_chessboard_of_pixels_is_almost_all_projection_error(colour: tuple[int, int, int], in_luma: bool) -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2 * 2 - 1
    block = (128 + 64 * board[:, :, None] * torch.tensor(colour)).to(torch.uint8)[None]
    everything, luma = projection_error(block, CONFIG)[0].tolist()
    energy = (64 / 255) ** 2 * sum(c * c for c in colour) / 3
    assert everything == pytest.approx(energy, rel=0.2)  # the block has some energy at lower frequencies
    assert luma == pytest.approx(energy if in_luma else 0, abs=energy * 0.2)
