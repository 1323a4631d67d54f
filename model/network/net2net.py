"""Deepening and widening a trained network without changing its function.

Chen et al., "Net2Net: accelerating learning via knowledge transfer", 2016.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from model.core.errors import MaepressError
from model.layers.blocks import Block, Blocks
from model.network.closed_units import close
from model.network.network import Network


def deepened(network: Network, fine: int, coarse: int) -> Network:
    """The same function with more blocks at the end of the stages of both transforms: they start as the identity.

    Args:
        network: is not changed.
        fine: number of blocks to add to each stage at 1/8 of the resolution, 0 or more.
        coarse: likewise, at 1/16.

    Returns:
        a new network in training mode; its output equals that of the given one until it is trained.
    """
    config = network.config
    deeper = Network(
        replace(
            config,
            analysis_blocks=(config.analysis_blocks[0] + fine, config.analysis_blocks[1] + coarse),
            synthesis_blocks=(config.synthesis_blocks[0] + coarse, config.synthesis_blocks[1] + fine),
        )
    )
    deeper.load_state_dict(deeper.state_dict() | network.state_dict())
    return deeper


@torch.no_grad()
def widened(network: Network, channels: int) -> Network:
    """The same function with more channels at 1/8 of the resolution.

    The new channels hold the next coefficients of the transform that all training starts from: the
    analysis computes them, and nothing reads them yet; the synthesis draws them, and all are zero
    yet. Blocks get as many new units, all of them closed
    (`model.network.closed_units.redraw_closed_units` opens them).

    Args:
        network: is not changed.
        channels: as many as now, or more; see `CodecConfig.patch_channels`.

    Returns:
        a new network in training mode; its output equals that of the given one until it is trained.

    Raises:
        MaepressError: for fewer channels than now, or more than a codec has.
    """
    old = network.config.patch_channels
    if channels < old:
        raise MaepressError(f"a network of {old} channels cannot be widened to {channels}")
    wider = Network(replace(network.config, patch_channels=channels))
    fresh = wider.state_dict()
    kept = {name: value for name, value in network.state_dict().items() if value.shape == fresh[name].shape}
    wider.load_state_dict(fresh | kept)
    was, now = network.analysis, wider.analysis
    now.stem.weight[:old], now.stem.bias[:old] = was.stem.weight, was.stem.bias
    _widen(now.fine, was.fine)
    _in_patches(now.down.weight.zero_().T, channels)[:, :old] = _in_patches(was.down.weight.T, old)
    given, made = network.synthesis, wider.synthesis
    _in_patches(made.up.weight.zero_(), channels)[:, :old] = _in_patches(given.up.weight, old)
    _in_patches(made.up.bias.zero_(), channels)[:, :old] = _in_patches(given.up.bias, old)
    made.fine_rows.knots[:, :old] = given.fine_rows.knots
    _widen(made.fine, given.fine)
    made.tail.weight[:, :old] = given.tail.weight
    return wider


def _in_patches(rows: Tensor, channels: int) -> Tensor:
    """A view `[4, channels, ...]` of rows over 2 x 2 patches of channels."""
    return rows.view(4, channels, *rows.shape[1:])


def _widen(new: Blocks, old: Blocks) -> None:
    """Give blocks the units of narrower ones; units beyond those are closed, and channels beyond theirs pass."""
    for block, was in zip(new, old, strict=True):
        assert isinstance(block, Block) and isinstance(was, Block)
        few, many = was.project.in_features, block.project.in_features
        block.spatial.weight[:few], _bias(block.spatial)[:few] = was.spatial.weight, _bias(was.spatial)
        nn.init.zeros_(block.expand.weight)
        nn.init.zeros_(block.expand.bias)
        close(block)
        for first, theirs in ((0, 0), (many, few)):  # gates, values
            block.expand.weight[first : first + few, :few] = was.expand.weight[theirs : theirs + few]
            block.expand.bias[first : first + few] = was.expand.bias[theirs : theirs + few]
        nn.init.zeros_(block.project.weight)
        block.project.weight[:few, :few], block.project.bias[:few] = was.project.weight, was.project.bias


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
