"""Processing of images of any size in tiles, with the same result as in one piece.

A layer with a receptive field computes a tile correctly when the tile comes with a margin, the
*halo*, as wide as the field reaches; at the image's own border there is no halo, as in one piece.
Tiles depend on their neighbours' results (latents on pixels, hyper-latents on latents, means on
hyper-latents ...): a `TiledTensor` computes a tile on demand, with everything it depends on, and
drops tiles that are no longer needed. All coordinates are in units of latents (16 pixels).
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock

import torch

from model.core.config import HYPER_STRIDE
from model.layers.surplus import Surplus

TILE = 96
"""Side of a tile in latents (1536 pixels): the cost of the halo matters more than the size of a core's cache."""

SMALLEST_TILE = 16
"""Smallest side of a tile in latents; smaller ones would be mostly halo."""
WORTHWHILE = 0.75
"""A small image is cut for several threads if that shortens it to this share: halos are work that others could use."""
_GOLDEN = (5**0.5 - 1) / 2
HALO = 2
"""Width of the border around a tile, in latents, that takes as long as what the transforms compute beyond it."""
Sides = tuple[int, int]
"""Largest rows and columns of a tile, in latents, multiples of 4."""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle, half open: rows `top` to `bottom`, columns `left` to `right`."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the window in an array `[B, H, W, ...]`."""
        return slice(None), slice(self.top, self.bottom), slice(self.left, self.right)

    def spread(self, count: int) -> list["Window"]:
        """About `count` of its positions (all if it has fewer), evenly spread, as windows of one position."""
        rows, columns = self.size
        # Multiples of the golden ratio fill an interval evenly, without alignment to rows or
        # columns.
        chosen = {int(i * _GOLDEN % 1 * rows * columns) for i in range(min(count, rows * columns))}
        corners = [(self.top + i // columns, self.left + i % columns) for i in sorted(chosen)]
        return [Window(row, column, row + 1, column + 1) for row, column in corners]

    def grown(self, margin: int, limit: "Window") -> "Window":
        """The window with a margin on every side, clipped to `limit`."""
        return Window(
            max(self.top - margin, limit.top),
            max(self.left - margin, limit.left),
            min(self.bottom + margin, limit.bottom),
            min(self.right + margin, limit.right),
        )

    def within(self, outer: "Window") -> "Window":
        """The window in coordinates relative to the corner of `outer`."""
        return Window(self.top - outer.top, self.left - outer.left, self.bottom - outer.top, self.right - outer.left)

    def surplus_of(self, outer: "Window") -> Surplus:
        """What `outer`, around this window, has beyond it."""
        return Surplus(
            self.top - outer.top, self.left - outer.left, outer.bottom - self.bottom, outer.right - self.right
        )

    def coarser(self, stride: int) -> "Window":
        """The smallest window that covers it on a grid that is coarser by a factor of `stride`."""
        return Window(self.top // stride, self.left // stride, -(-self.bottom // stride), -(-self.right // stride))

    def finer(self, stride: int) -> "Window":
        """The window on a grid that is finer by a factor of `stride`."""
        return Window(self.top * stride, self.left * stride, self.bottom * stride, self.right * stride)


class TileGrid:
    """Division of an image into tiles of nearly equal size, in bands along its shorter side.

    Attributes:
        whole: the whole image.
        bands: the tiles in processing order. Bands are short, so that few tiles have to be in
            memory at once.
    """

    def __init__(self, height: int, width: int, sides: Sides) -> None:
        """Divide `height` x `width` latents into tiles with at most those sides."""
        self.whole = Window(0, 0, height, width)
        self._rows, self._columns = _cuts(height, sides[0]), _cuts(width, sides[1])
        self._down = height >= width
        across, along = pairwise(self._columns), pairwise(self._rows)
        if self._down:
            spans = list(across)
            self.bands = [[Window(a, left, b, right) for left, right in spans] for a, b in along]
        else:
            spans = list(along)
            self.bands = [[Window(top, a, bottom, b) for top, bottom in spans] for a, b in across]

    def tiles(self) -> Iterator[Window]:
        """All tiles, band by band."""
        for band in self.bands:
            yield from band

    def batches(self, tiles: int) -> Iterator[tuple[int, list[Window]]]:
        """All tiles in batches of whole bands, each of at least `tiles` tiles (except for the last).

        Yields:
            number of the batch's last band, and its tiles.
        """
        count = -(-tiles // len(self.bands[0]))
        for begin in range(0, len(self.bands), count):
            bands = self.bands[begin : begin + count]
            yield begin + len(bands) - 1, [tile for band in bands for tile in band]

    def touching(self, window: Window) -> Iterator[Window]:
        """Tiles that overlap a window."""
        for top, bottom in _spans(self._rows, window.top, window.bottom):
            for left, right in _spans(self._columns, window.left, window.right):
                yield Window(top, left, bottom, right)

    def start_of(self, band: int) -> int:
        """First row of a band; its first column, where bands lie beside one another."""
        first = self.bands[band][0]
        return first.top if self._down else first.left

    def end_of(self, tile: Window) -> int:
        """Row, or column, at which a tile ends, in the direction in which bands follow one another."""
        return tile.bottom if self._down else tile.right


class TiledTensor:
    """A tensor `[B, rows, columns, C]` in tiles, which are computed on demand.

    `make(tile)` computes a tile and may read other tiled tensors. It must be deterministic: a
    dropped tile is computed again on demand. Thread-safe: the first thread that asks for a tile
    computes it, others wait for it.
    """

    def __init__(self, grid: TileGrid, make: Callable[[Window], torch.Tensor], stride: int = 1, finer: int = 1) -> None:
        """A tensor with one position every `stride` latents, or with `finer` positions for each."""
        self._grid = grid
        self._make = make
        self._stride = stride
        self._finer = finer
        self._tiles: dict[Window, torch.Tensor] = {}
        self._locks: dict[Window, Lock] = {}

    def tile(self, tile: Window) -> torch.Tensor:
        """Values of a tile of the grid."""
        values = self._made(tile, wait=True)
        assert values is not None
        return values

    def _made(self, tile: Window, *, wait: bool) -> torch.Tensor | None:
        """Values of a tile, computed if necessary; None if another thread is computing them and `wait` is False."""
        lock = self._locks.setdefault(tile, Lock())
        if not lock.acquire(blocking=wait):
            return None
        try:
            values = self._tiles.get(tile)
            if values is None:
                values = self._tiles[tile] = self._make(tile)
            return values
        finally:
            lock.release()

    def window(self, window: Window) -> torch.Tensor:
        """Values of any window, assembled from tiles; `window` is in latents, multiples of the stride."""
        tiles = list(self._grid.touching(window))
        area = self._area(window)
        if len(tiles) == 1:
            return self.tile(tiles[0])[area.within(self._area(tiles[0])).slices]
        for tile in tiles:  # first those that no thread computes yet, so that threads do not wait for the same tile
            self._made(tile, wait=False)
        out: torch.Tensor | None = None
        for tile in tiles:
            values, own = self.tile(tile), self._area(tile)
            if out is None:
                out = values.new_empty((values.shape[0], *area.size, values.shape[3]))
            shared = own.grown(0, area)
            out[shared.within(area).slices] = values[shared.within(own).slices]
        assert out is not None
        return out

    def _area(self, window: Window) -> Window:
        """The window in positions of the tensor."""
        return window.coarser(self._stride).finer(self._finer)

    def drop_before(self, position: int) -> None:
        """Drop the tiles that end at a row or before (a column, where bands lie beside one another)."""
        for tile in [t for t in list(self._tiles) if self._grid.end_of(t) <= position]:
            del self._tiles[tile]


def sides_for(height: int, width: int, threads: int, most: int = TILE) -> Sides:
    """Sides of the tiles with which `threads` threads finish an image soonest; a small image gets smaller tiles.

    The estimate includes what is computed around each tile, and threads that wait because no tile is left.

    Args:
        height: of the image in latents.
        width: of the image in latents.
        threads: number of threads that work on tiles.
        most: largest side, a multiple of 4; smaller ones down to `SMALLEST_TILE` are tried.
    """

    def duration(sides: Sides) -> int:
        grid = TileGrid(height, width, sides)
        grown = [tile.grown(HALO, grid.whole).size for tile in grid.tiles()]
        rounds: int = -(-len(grown) // threads)
        return rounds * max(rows * columns for rows, columns in grown)

    largest = most, most
    if threads == 1 or height * width >= 4 * threads * most**2:
        return largest
    tried = range(most - HYPER_STRIDE, SMALLEST_TILE - 1, -HYPER_STRIDE)
    best = min([largest, *((a, b) for x in tried for a, b in ((x, most), (most, x), (x, x)))], key=duration)
    return best if duration(best) <= WORTHWHILE * duration(largest) else largest


def _cuts(length: int, side: int) -> list[int]:
    """Starts of equal parts of at most `side`, in multiples of 4; last, the end."""
    parts = -(-length // side)
    step = -(-length // (parts * HYPER_STRIDE)) * HYPER_STRIDE
    return [*range(0, length, step), length]


def _spans(cuts: list[int], begin: int, end: int) -> list[tuple[int, int]]:
    first = bisect_right(cuts, begin) - 1
    return [(a, b) for a, b in pairwise(cuts[first:]) if a < end]
