"""Growing a trunk: its newest state with deeper transforms, in a new folder.

The units of new blocks are closed: `redraw` (`bench.trunk_redraw`) draws them by what their inputs are, and training
goes on from there. Drawn blindly, half of their gates would be constant.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from bench.trunk_copy import Copy
from model import checkpoint
from model.core.config import CodecConfig
from model.network.closed_units import blocks_of, close
from model.network.net2net import deepened
from model.network.network import Network
from pipeline.train.checkpoint import STATE

START = "start"
"""Folder of the model that a grown trunk starts from: the average, grown. It tells `run` the new shape."""


def grow(out: Path, new: Path, fine: int, coarse: int) -> None:
    """Copy the newest state of a trunk with new blocks; counters, history and the moments of kept layers stay.

    New blocks change nothing at first; they are the same in the weights and in their average.

    Args:
        out: the trunk, which does not change.
        new: folder of the new trunk; must not exist.
        fine: number of blocks to add, as for `model.network.net2net.deepened`.
        coarse: likewise.

    Raises:
        MaepressError: when there is no state, or the new folder exists.
    """
    copy = Copy.of(out, new)
    config = checkpoint.load(copy.settings["init"]).network.config
    tensors = load_file(copy.state / STATE)
    torch.manual_seed(copy.settings["seed"])
    weights, average = (deepened(_network(config, tensors, part), fine, coarse) for part in ("weight.", "average."))
    for name, block in blocks_of(weights).items():
        if f"weight.{name}.expand.weight" not in tensors:
            close(block)
    average.load_state_dict(weights.state_dict() | _under("average.", tensors))
    model = {f"{START}/{name}": data for name, data in checkpoint.serialise(average, {}).items()}
    line = copy.write(weights, average, model, init=str((new / START).absolute()))
    print(f"{line} --init {new / START}, after a redraw, as the units of new blocks are closed")


def _network(config: CodecConfig, tensors: dict[str, Tensor], prefix: str) -> Network:
    network = Network(config)
    network.load_state_dict(_under(prefix, tensors))
    return network


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
