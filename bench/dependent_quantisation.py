"""What dependent (trellis-coded) quantisation would save, with networks and tables as they are.

    python -m bench.dependent_quantisation FILE       # latents that `bench.entropy_trials latents` wrote

Two quantisers alternate, as in VVC: whole steps, and steps moved by a half towards zero. The parity
of each symbol moves a state, which chooses the quantiser of the next latent of the same pass at the
same position. Only latents from some scale index on take part. So parsing stays as it is: no table
depends on the state. The encoder finds the best path of each position by dynamic programming.
Changes in percent of the bits against today's rounding, at equal error (`bench.entropy_trials`).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from bench.entropy_trials import STEP_BITS, read, score
from bench.entropy_variants import Variant
from model.bitstream.probability_tables import SCALES
from model.core.errors import MaepressError
from model.core.jit import Array, compiled
from model.entropy.priors import ESCAPE_BITS
from model.network.network import Network
from pipeline.train.validation import VALIDATION_QUALITIES

NEXT = np.array([[0, 2], [5, 7], [1, 3], [6, 4], [2, 0], [4, 6], [3, 1], [7, 5]])
"""Next of eight states by state and parity; odd states use the moved quantiser."""
LARGEST = 1024
"""Symbols beyond cost as many bits as this one."""
SETTINGS = ((0, 1.0), (0, 0.9), (16, 0.9), (22, 0.9))
"""Lowest scale index that takes part, and its quantisation steps per step of today."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.dependent_quantisation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        network, _, held_out = read(options.file)
    except MaepressError as e:
        print(f"bench.dependent_quantisation: {e}", file=sys.stderr)
        return 2
    columns = [f"from index {least}, {finer:.1f} steps" for least, finer in SETTINGS]
    table = Table("quality", *columns, title=f"{len(held_out)} images")
    for quality in VALIDATION_QUALITIES:
        bits, error = score(Variant(network), held_out, quality)
        cells = []
        for least, finer in SETTINGS:
            rate, cost = score(Dependent(network, least, finer), held_out, quality)
            cells.append(f"{(rate - bits + cost - error) / bits:+.2%}")
        table.add_row(str(quality), *cells)
    Console(width=110, highlight=False).print(table)
    return 0


class Dependent(Variant):
    """The model with dependent quantisation from a scale index on."""

    def __init__(self, network: Network, least: int, finer: float) -> None:
        """Of `finer` quantisation steps per step of the model."""
        super().__init__(network)
        self._least, self._finer = least, finer
        prior = self.network.prior
        with torch.no_grad():
            index = torch.arange(float(SCALES))[:, None].expand(-1, LARGEST)
            costs = prior.bits(torch.arange(float(LARGEST)).expand_as(index), index)
            costs[0] = ESCAPE_BITS
            costs[0, 0] = 0.0
            offsets = torch.nn.functional.pad(prior.offset, (1, 0))
        self._costs, self._offsets = costs.double().numpy(), offsets.double().numpy()

    def quantised(self, residual: Tensor, index: Tensor, mine: Tensor, *, estimate: bool) -> tuple[Tensor, Tensor]:
        """The best path at every position of a batch of one."""
        where = mine.flatten(0, 1).numpy()
        rows = [x[0].detach().flatten(0, 1).numpy()[where].reshape(len(where), -1) for x in (residual, index)]
        symbols, moved = (np.zeros(rows[0].shape) for _ in range(2))
        finer = np.where(rows[1] >= self._least, self._finer, 1.0)
        _best_paths(rows[0] * finer, rows[1].astype(np.int64), STEP_BITS / finer**2, self._least, self._costs,
                    self._offsets, NEXT, symbols, moved)  # fmt: skip
        out = [torch.zeros(mine.shape).flatten(0, 1) for _ in range(2)]
        for whole, values in zip(out, (symbols, moved / finer), strict=True):
            whole[torch.from_numpy(where)] = torch.from_numpy(values.ravel()).float()
        return out[0].view(residual.shape), out[1].view(residual.shape)


@compiled
def _best_paths(
    residual: Array,
    index: Array,
    weight: Array,
    least: int,
    costs: Array,
    offsets: Array,
    following: Array,
    symbols: Array,
    moved: Array,
) -> None:
    """Symbols and reconstructions with the least cost, for rows of residuals `[N, n]`; one path per row.

    Args:
        residual: in quantisation steps.
        index: scale indices.
        weight: bits that a squared step is worth.
        least: smallest scale index that takes part.
        costs: bits of a scale index's symbols, `[SCALES, LARGEST]`.
        offsets: shift of reconstructions of those that take no part, `[SCALES, 3]`.
        following: next state by state and parity.
        symbols: output.
        moved: output, reconstructions in quantisation steps.
    """
    states, length = following.shape[0], residual.shape[1]
    came, chose = np.zeros((length, states), np.int64), np.zeros((length, states), np.int64)
    for row in range(residual.shape[0]):
        total = np.full(states, np.inf)
        total[0] = 0.0
        for i in range(length):
            best, size, k = np.full(states, np.inf), abs(residual[row, i]), index[row, i]
            joins = k >= least
            for state in range(states):
                if total[state] == np.inf:
                    continue
                half = 0.5 * (state % 2) if joins else 0.0
                low = int(size + half)
                for symbol in (0, low, low + 1):
                    value = max(symbol - (half if joins else offsets[k, min(symbol, 2)]), 0.0)
                    cost = (
                        total[state] + costs[k, min(symbol, costs.shape[1] - 1)] + weight[row, i] * (size - value) ** 2
                    )
                    target = following[state, symbol % 2] if joins else state
                    if cost < best[target]:
                        best[target], came[i, target], chose[i, target] = cost, state, symbol
            total = best
        state = int(np.argmin(total))
        for i in range(length - 1, -1, -1):
            symbol, state, k = chose[i, state], came[i, state], index[row, i]
            shift = 0.5 * (state % 2) if k >= least else offsets[k, min(symbol, 2)]
            sign = -1.0 if residual[row, i] < 0 else 1.0
            symbols[row, i], moved[row, i] = sign * symbol, sign * max(symbol - shift, 0.0)


if __name__ == "__main__":
    sys.exit(main())
