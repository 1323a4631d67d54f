"""The walk over an image's tiles, with bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from model.inference.parallel import each, pieces_at_once
from model.inference.tiling import TiledTensor, TileGrid, Window

Result = TypeVar("Result")


def walk(
    grid: TileGrid, work: Callable[[Window], Result], temporary: Sequence[TiledTensor], device: torch.device
) -> Iterator[Result]:
    """Results of all tiles, band by band; several tiles at once where there are threads.

    Args:
        grid: the tiles.
        work: called once per tile, from any thread.
        temporary: tensors of the same image, whose tiles are dropped once the walk has passed them.
        device: where the networks run.
    """
    for last_band, tiles in grid.batches(pieces_at_once(device)):
        yield from each(work, tiles, device)
        for tensor in temporary:
            tensor.drop_before(grid.start_of(last_band))
