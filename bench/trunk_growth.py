"""Growing a trunk: its newest state with deeper or wider transforms, in a new folder.

New units are closed: `redraw` (`bench.trunk_redraw`) draws them by what their inputs are, and training
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
from model.network.net2net import deepened, widened
from model.network.network import Network
from pipeline.train.checkpoint import STATE

START = "start"
"""Folder of the model that a grown trunk starts from: the average, grown. It tells `run` the new shape."""


def grow(out: Path, new: Path, fine: int = 0, coarse: int = 0, channels: int | None = None) -> None:
    """Copy the newest state of a trunk with more blocks or channels; counters, history and most moments stay.

    What is new changes nothing at first; it is the same in the weights and in their average. The
    moments of layers whose shape changes begin anew.

    Args:
        out: the trunk, which does not change.
        new: folder of the new trunk; must not exist.
        fine: number of blocks to add, as for `model.network.net2net.deepened`.
        coarse: likewise.
        channels: at 1/8 of the resolution, as for `model.network.net2net.widened`; None for those of the trunk.

    Raises:
        MaepressError: when there is no state, the new folder exists, or there cannot be so many channels.
    """
    copy = Copy.of(out, new)
    config = checkpoint.load(copy.settings["init"]).network.config
    tensors = load_file(copy.state / STATE)

    def grown(part: str) -> Network:
        network = _network(config, tensors, part)
        torch.manual_seed(copy.settings["seed"])  # for both parts the same
        larger = widened(deepened(network, fine, coarse), channels or config.patch_channels)
        for name, block in blocks_of(larger).items():
            if f"{part}{name}.expand.weight" not in tensors:
                close(block)
        return larger

    weights, average = grown("weight."), grown("average.")
    model = {f"{START}/{name}": data for name, data in checkpoint.serialise(average, {}).items()}
    line = copy.write(weights, average, model, init=str((new / START).absolute()))
    print(f"{line} --init {new / START}, after a redraw, as new units are closed")


def _network(config: CodecConfig, tensors: dict[str, Tensor], prefix: str) -> Network:
    network = Network(config)
    network.load_state_dict({name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)})
    return network
