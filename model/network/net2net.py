"""Deepening a trained network without changing its function: new blocks start as the identity.

Chen et al., "Net2Net: accelerating learning via knowledge transfer", 2016.
"""

from dataclasses import replace

from model.network.network import Network


def deepened(network: Network, fine: int, coarse: int) -> Network:
    """The same function with more blocks at the end of the stages of both transforms.

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
