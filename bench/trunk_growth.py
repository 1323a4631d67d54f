"""Growing a trunk: its newest state with deeper transforms, in a new folder, from which training goes on."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.trunk_files import HISTORY, SETTINGS, newest, replace
from model import checkpoint
from model.core.config import CodecConfig
from model.core.errors import MaepressError
from model.network.net2net import deepened
from model.network.network import Network
from pipeline.train.checkpoint import STATE

START = "start"
"""Folder of the model that a grown trunk starts from: the average, grown. It tells `run` the new shape."""


def grow(out: Path, new: Path, blocks: int) -> None:
    """Copy the newest state of a trunk with new blocks; counters, history and the moments of kept layers stay.

    New blocks change nothing at first; they are the same in the weights and in their average.

    Args:
        out: the trunk, which does not change.
        new: folder of the new trunk; must not exist.
        blocks: number of blocks to add to each of the transforms' four stages, as for
            `model.network.net2net.deepened`.

    Raises:
        MaepressError: when there is no state, or the new folder exists.
    """
    state = newest(out)
    if state is None:
        raise MaepressError(f"{out} holds no state to grow: start a trunk with `run`")
    if new.exists():
        raise MaepressError(f"{new} exists: give a new folder")
    settings = dict(json.loads((out / SETTINGS).read_text()))
    config = checkpoint.load(settings["init"]).network.config
    tensors = load_file(state / STATE)
    torch.manual_seed(settings["seed"])
    weights, average = (deepened(_network(config, tensors, part), blocks) for part in ("weight.", "average."))
    average.load_state_dict(weights.state_dict() | _under("average.", tensors))
    partial = new.with_name(new.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(state, partial / state.name)
    parts = {"weight": weights, "average": average}
    save_file(
        {f"{part}.{name}": value for part, network in parts.items() for name, value in network.state_dict().items()},
        partial / state.name / STATE,
    )
    for name, data in checkpoint.serialise(average, {}).items():
        replace(partial / START / name, data)
    if (out / HISTORY).exists():
        shutil.copy(out / HISTORY, partial / HISTORY)
    settings["init"] = str((new / START).absolute())
    replace(partial / SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())
    partial.rename(new)
    print(f"{state.name} -> {new}: go on with run {settings['recipe']} {settings['images']} {new} --init {new / START}")


def _network(config: CodecConfig, tensors: dict[str, Tensor], prefix: str) -> Network:
    network = Network(config)
    network.load_state_dict(_under(prefix, tensors))
    return network


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
