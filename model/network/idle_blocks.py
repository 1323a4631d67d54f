"""Blocks that add nothing but a constant: found with training images, and left out.

A trained stage may hold blocks whose gates are closed everywhere (`model.network.closed_units`).
Their branch is a constant, which the linear layer before or after the stage can add, so the network
computes the same with fewer multiply-adds. It is another model: its shape, and so its fingerprint,
differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from model.layers.blocks import Block, Blocks
from model.network.network import Network

IDLE = 1e-3
"""Deviation of a branch relative to that of its input below which the block counts as idle. In the models trained so
far, branches deviate by less than 2e-4 or by more than 1e-2 of their inputs."""


@dataclass
class _Branch:
    """Sums over positions, float64 `[C]`: of a block's branch, its square, and its centred input's square."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    square: Tensor = field(default_factory=lambda: torch.zeros(()))
    of_input: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, x: Tensor, out: Tensor) -> None:
        rows, branch = x.detach().flatten(0, 2).double(), (out - x).detach().flatten(0, 2).double()
        self.count += len(rows)
        self.total, self.square = self.total + branch.sum(0), self.square + branch.square().sum(0)
        self.of_input = self.of_input + (rows - rows.mean(0)).square().sum(0)

    @property
    def mean(self) -> Tensor:
        return self.total / self.count

    @property
    def is_idle(self) -> bool:
        varying = (self.square / self.count - self.mean.square()).clamp_min(0).mean()
        return bool(varying <= IDLE**2 * (self.of_input / self.count).mean())


def without_idle_blocks(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Network, list[str]]:
    """The network without the idle blocks of its two stages at 1/16 of the resolution.

    Args:
        network: is not changed.
        batches: at least one: images, float `[B, H, W, 3]` in 0..1, sides multiples of 64, and integer qualities `[B]`.

    Returns:
        a new network in evaluation mode, and the names of the blocks that it lacks.
    """
    stages = {"analysis.coarse": network.analysis.coarse, "synthesis.coarse": network.synthesis.coarse}
    seen = _watch(network, stages, batches)
    left = {name: [i for i, branch in enumerate(seen[name]) if not branch.is_idle] for name in stages}
    config = network.config
    smaller = Network(
        replace(
            config,
            analysis_blocks=(config.analysis_blocks[0], len(left["analysis.coarse"])),
            synthesis_blocks=(len(left["synthesis.coarse"]), config.synthesis_blocks[1]),
        )
    )
    state = dict(network.state_dict())
    for name in [name for name in state if name.startswith(tuple(f"{stage}." for stage in stages))]:
        del state[name]
    for stage in stages:
        for new, old in enumerate(left[stage]):
            for name, value in getattr(stages[stage], str(old)).state_dict().items():
                state[f"{stage}.{new}.{name}"] = value
    smaller.load_state_dict(state)
    _add_constants(smaller, seen, left)
    missing = [f"{stage}.{i}" for stage in stages for i in range(len(seen[stage])) if i not in left[stage]]
    return smaller.requires_grad_(False).eval(), missing


def _watch(
    network: Network, stages: dict[str, Blocks], batches: Iterable[tuple[Tensor, Tensor]]
) -> dict[str, list[_Branch]]:
    """What the branches of each stage's blocks add."""
    seen = {name: [_Branch() for _ in stage] for name, stage in stages.items()}
    handles = [
        block.register_forward_hook(lambda _, inputs, out, branch=branch: branch.add(inputs[0], out))
        for name, stage in stages.items()
        for block, branch in zip(stage, seen[name], strict=True)
    ]
    try:
        with torch.enable_grad():  # without gradients, blocks take a path without hooks
            for image, quality in batches:
                network(image, quality)
    finally:
        for handle in handles:
            handle.remove()
    return seen


@torch.no_grad()
def _add_constants(smaller: Network, seen: dict[str, list[_Branch]], left: dict[str, list[int]]) -> None:
    """Add the means of the missing branches: before the analysis' stage, and behind that of the synthesis."""
    for stage, blocks in (("analysis.coarse", smaller.analysis.coarse), ("synthesis.coarse", smaller.synthesis.coarse)):
        missing = {i: branch.mean.float() for i, branch in enumerate(seen[stage]) if i not in left[stage]}
        whole = sum(missing.values(), torch.zeros(smaller.config.latent_channels))
        before = whole if stage.startswith("analysis") else torch.zeros_like(whole)
        for block, old in zip(blocks, left[stage], strict=True):  # each still sees what came from the blocks before it
            assert isinstance(block, Block) and block.spatial.bias is not None
            seen_before = sum((mean for i, mean in missing.items() if i < old), torch.zeros_like(whole))
            block.spatial.bias.add_((seen_before - before) * block.spatial.weight.sum((1, 2, 3)))
        if stage.startswith("analysis"):
            smaller.analysis.down.bias.add_(whole)
        else:
            smaller.synthesis.up.bias.add_(smaller.synthesis.up.weight @ whole)
