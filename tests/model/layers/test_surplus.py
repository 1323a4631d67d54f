"""A window with its surroundings gives what the whole picture gives there, and no more is computed than is read."""

import pytest
import torch

from model.layers.blocks import blocks
from model.layers.surplus import NONE, Surplus

HEIGHT, WIDTH, CHANNELS, COUNT = 14, 15, 8, 3


def test_a_side_keeps_what_the_layers_behind_read_and_a_shorter_one_stays_whole() -> None:
    assert Surplus(5, 1, 3, 0).after(3) == Surplus(3, 1, 3, 0)
    assert Surplus(5, 1, 3, 0).after(0) == NONE
    assert Surplus(1, 2, 3, 4).finer(2) == Surplus(2, 4, 6, 8)
    assert Surplus(3, 1, 2, 0).without(Surplus(1, 1, 2, 0), 10, 12) == (slice(2, 10), slice(0, 12))


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("needed", [0, 2])
@pytest.mark.parametrize(
    "wanted",
    [(5, 6, 8, 9), (0, 0, 14, 15), (0, 0, 1, 1), (2, 1, 12, 14), (13, 14, 14, 15), (0, 7, 14, 8)],
    ids=["inside", "whole", "a corner", "near the border", "the last corner", "a column"],
)
def test_blocks_of_a_window_are_those_of_the_picture(
    wanted: tuple[int, int, int, int], needed: int, inference: bool
) -> None:
    torch.manual_seed(0)
    network = blocks(CHANNELS, COUNT)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    picture = torch.randn(2, HEIGHT, WIDTH, CHANNELS)
    top, left, bottom, right = wanted
    reach = COUNT + needed
    room = Surplus(top, left, HEIGHT - bottom, WIDTH - right)  # up to the picture's border
    given, rest = room.after(reach), room.after(needed)

    def part(x: torch.Tensor, around: Surplus) -> torch.Tensor:
        return x[:, top - around.top : bottom + around.bottom, left - around.left : right + around.right]

    with torch.inference_mode(inference):
        whole, window = network(picture), network(part(picture, given), given, needed)
    torch.testing.assert_close(window, part(whole, rest), rtol=1e-5, atol=1e-5)
