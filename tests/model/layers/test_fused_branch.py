"""The prepared branch: fused and separate operators agree; copies of a network do not contain it."""

import copy
import pickle

import pytest
import torch

from model.core.config import CodecConfig
from model.layers.blocks import Block, set_compute_dtype
from model.layers.fused_branch import ROWS, PreparedBranch
from model.network.network import Network, finalise


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_fused_operators_agree_with_separate_ones(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    expand, project = torch.nn.Linear(32, 64), torch.nn.Linear(32, 32)
    sums = torch.randn(ROWS + 5, 32).to(dtype)
    with torch.inference_mode():
        prepared = PreparedBranch(expand, project, dtype)
        fused = prepared(sums)
        with torch.backends.mkldnn.flags(enabled=False):
            stepped = prepared(sums)
    torch.testing.assert_close(fused, stepped, rtol=tolerance, atol=tolerance)


def test_a_copy_or_a_pickle_has_no_prepared_branch() -> None:
    block = Block(16)
    set_compute_dtype(block, torch.float32, final=True)
    assert block.prepared is not None
    assert copy.deepcopy(block).prepared is None
    assert pickle.loads(pickle.dumps(block)).prepared is None
    set_compute_dtype(block, torch.float32)
    assert block.prepared is None


def test_a_copied_network_has_no_prepared_entropy_model() -> None:
    network = Network(CodecConfig(patch_channels=16, latent_channels=16))
    finalise(network, torch.float32)
    assert network.entropy_model is not None
    assert copy.deepcopy(network).entropy_model is None
