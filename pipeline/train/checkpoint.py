"""Checkpoints of a training run: weights, their moving average, moments and counters, without pickle."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.core.errors import MaepressError
from pipeline.train.soap import PARTS, Soap

STATE, COUNTERS, MOMENTS = "state.safetensors", "counters.json", "moments-{}.safetensors"


class Unresumable(MaepressError):
    """What an earlier run left in its folder is damaged, or of another network: the same command would fail again."""


@dataclass(slots=True)
class Counters:
    """Progress of a run.

    Attributes:
        step: number of optimiser steps done.
        seconds: training time over all starts of the run.
        best: lowest validation loss so far.
        pixels: number of pixels of all crops so far, over all ranks.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")
    pixels: int = 0


def save_state(folder: Path, network: nn.Module, average: nn.Module, counters: Counters) -> None:
    """Write rank 0's part of a checkpoint into a local folder: weights, average and counters."""
    _save(
        {f"weight.{k}": v for k, v in network.state_dict().items()}
        | {f"average.{k}": v for k, v in average.state_dict().items()},
        folder / STATE,
    )
    (folder / COUNTERS).write_text(json.dumps(asdict(counters)))


def save_moments(folder: Path, rank: int, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write each rank's part of a checkpoint: the optimiser's state of the parameters that this rank owns."""
    _save(
        {
            f"{part}.{name}": value
            for name, parameter in network.named_parameters()
            for part, value in optimizer.state.get(parameter, {}).items()
        },
        folder / MOMENTS.format(rank),
    )


def load_state(folder: Path, network: nn.Module, average: nn.Module, optimizer: Soap) -> Counters:
    """Load a checkpoint into the same kind of network and optimiser; the number of ranks may differ."""
    tensors = load_file(folder / STATE)
    network.load_state_dict(_under("weight.", tensors))
    average.load_state_dict(_under("average.", tensors))
    moments: dict[str, Tensor] = {}
    for file in sorted(folder.glob(MOMENTS.format("*"))):
        moments |= load_file(file)
    for name, parameter in network.named_parameters():
        state = {part: moments[f"{part}.{name}"] for part in PARTS if f"{part}.{name}" in moments}
        if state and optimizer.owns(parameter):
            # The host reads `step` at every step, so it stays on the host.
            optimizer.state[parameter] = {
                k: v.clone() if k == "step" else v.to(parameter.device, copy=True) for k, v in state.items()
            }
    return Counters(**json.loads((folder / COUNTERS).read_text()))


def _save(tensors: dict[str, Tensor], file: Path) -> None:
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, file)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
