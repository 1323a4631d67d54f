"""Units whose gates never open: found with training images, and marked so that coding leaves them out.

A trained block may hold a few units that work and many that stay closed
(`model.network.closed_units`). A gate without weights and with a bias that is not positive is
closed whatever the picture, so a prepared block does not compute such units
(`model.layers.fused_branch`). Nor are features of z computed for the means where no layer reads
them (`model.entropy.entropy_model`). The network keeps its shape, and computes the same but for
rounding, except for a picture that would have opened one of those gates.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from model.network.closed_units import blocks_of, fold_closed_features, seen_before_features, seen_by_blocks
from model.network.network import Network

MARGIN = 1.0
"""A gate counts as closed if it stays below zero by this many of its deviations at every position."""


@torch.no_grad()
def mark_idle_units(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, tuple[int, int]]:
    """Set the gates of closed units to their means, and fold features of z for the means if all of them are closed.

    Args:
        network: is changed in place.
        batches: at least one: images, float `[B, H, W, 3]` in 0..1, sides multiples of 64, and integer qualities `[B]`.

    Returns:
        for the layer before the features, and for each block, by name, the numbers of units marked and of all units.
    """
    batches, blocks, width = list(batches), blocks_of(network), network.means.up2.in_features
    marked = {"means.up2": (0, width)}
    if bool((seen_before_features(network, batches).largest < 0).all()):
        fold_closed_features(network.means)
        marked["means.up2"] = width, width
    for name, at in seen_by_blocks(network, batches).items():
        gate = blocks[name].expand.weight[: len(at.largest)].double()
        deviation = torch.einsum("uc,cd,ud->u", gate, at.covariance, gate).clamp_min(0.0).sqrt()
        closed = (at.largest < -MARGIN * deviation).nonzero()[:, 0]
        # Not to zero: a training that goes on would open all of them at once.
        blocks[name].expand.bias[closed] += (gate @ at.mean)[closed].float()
        blocks[name].expand.weight[closed] = 0.0
        marked[name] = len(closed), len(at.largest)
    return marked
