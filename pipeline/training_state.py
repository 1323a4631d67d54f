"""What a training run needs to go on: weights, their moving average, moments, counters. No pickle."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

STATE, COUNTERS = "state.safetensors", "counters.json"


@dataclass(slots=True)
class Counters:
    """How far the run is.

    Attributes:
        step: optimiser steps done.
        seconds: training time, over all starts of the run.
        best: lowest validation loss so far.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = float("inf")


def save_state(
    folder: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, counters: Counters
) -> None:
    """Write the state into a local folder that nobody reads yet."""
    tensors = {f"weight.{k}": v for k, v in network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.state_dict().items()}
    for name, parameter in network.named_parameters():
        tensors |= {f"adam.{part}.{name}": value for part, value in optimizer.state.get(parameter, {}).items()}
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / STATE)
    (folder / COUNTERS).write_text(json.dumps(asdict(counters)))


def load_state(folder: Path, network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> Counters:
    """Put a saved state back into the same kind of network and optimiser."""
    tensors = load_file(folder / STATE)
    device = next(network.parameters()).device

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    network.load_state_dict(part("weight."))
    average.load_state_dict(part("average."))
    for name, parameter in network.named_parameters():
        moments = {
            key: tensors[f"adam.{key}.{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"adam.{key}.{name}" in tensors
        }
        if moments:
            optimizer.state[parameter] = {
                k: v.clone() if k == "step" else v.to(device, copy=True) for k, v in moments.items()
            }
    return Counters(**json.loads((folder / COUNTERS).read_text()))
