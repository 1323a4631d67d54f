"""Making a trained network deeper without forgetting: new blocks start as the identity (Net2Net, Chen et al. 2016)."""

from dataclasses import replace

from model.network.network import Network


def deepened(network: Network, blocks: int) -> Network:
    """The same function with so many more blocks at the end of each of the transforms' four stages.

    Args:
        network: any; not changed.
        blocks: to add to each stage, 0 or more.

    Returns:
        a new network in training mode whose output is the given one's until it is trained.
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
