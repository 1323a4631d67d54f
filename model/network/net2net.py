"""Deepening a trained network without changing its function: new blocks start as the identity.

Chen et al., "Net2Net: accelerating learning via knowledge transfer", 2016.
"""

from dataclasses import replace

from model.network.network import Network


def deepened(network: Network, blocks: int) -> Network:
    """The same function with more blocks at the end of each of the transforms' four stages.

    Args:
        network: is not changed.
        blocks: number of blocks to add to each stage, 0 or more.

    Returns:
        a new network in training mode; its output equals that of the given one until it is trained.
    """
    config = network.config
    deeper = Network(
        replace(
            config,
            analysis_blocks=(config.analysis_blocks[0] + blocks, config.analysis_blocks[1] + blocks),
            synthesis_blocks=(config.synthesis_blocks[0] + blocks, config.synthesis_blocks[1] + blocks),
        )
    )
    deeper.load_state_dict(deeper.state_dict() | network.state_dict())
    return deeper
