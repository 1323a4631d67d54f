"""SOAP: the gain of the eigenbasis, and equal results for one rank and for several."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from pipeline.train.checkpoint import Counters, load_state, save_moments, save_state
from pipeline.train.soap import LEAST_SIDE, Soap, is_matrix, owners

SIDE = 48


def problem() -> tuple[nn.Linear, Callable[[], Tensor]]:
    """A regression whose inputs vary 100 times more in some directions than in others, none along an axis."""
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(torch.randn(SIDE, SIDE, generator=generator)).Q
    inputs = torch.randn(512, SIDE, generator=generator) * torch.logspace(0, -2, SIDE) @ turn
    wanted = inputs @ torch.randn(SIDE, SIDE, generator=generator) + torch.randn(SIDE, generator=generator)
    layer = nn.Linear(SIDE, SIDE)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer, lambda: (layer(inputs) - wanted).square().mean()


def descend(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor], steps: int) -> float:
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return loss().item()


def test_directions_that_no_axis_follows_are_learned_faster_than_by_adam() -> None:
    layer, loss = problem()
    by_adam = descend(torch.optim.Adam(layer.parameters(), 0.02), loss, 300)
    layer, loss = problem()
    assert descend(Soap(layer.parameters(), 0.02), loss, 300) < by_adam / 3


@pytest.mark.parametrize("scale", [0.0, 1e-25, 1.0])
def test_a_first_gradient_of_next_to_nothing_does_no_harm(scale: float) -> None:
    weight = torch.nn.Parameter(torch.ones(64, 96))
    optimizer = Soap([weight], 0.01)
    for step in range(12):
        weight.grad = torch.zeros(64, 96)
        weight.grad[step % 3] = scale
        optimizer.step()
    assert torch.isfinite(weight).all()
    assert torch.linalg.matrix_norm(optimizer.state[weight]["basis"], 2) == pytest.approx(1, abs=1e-4)


def test_every_parameter_belongs_to_one_rank_and_the_load_is_even() -> None:
    shapes = [(256, 128)] * 8 + [(320, 640), (320, 320), (320,), (9, 320), (128, 1, 3, 3)] * 2
    parameters = [torch.zeros(shape) for shape in shapes]
    for ranks in (1, 2, 3):
        owner = owners(parameters, ranks)
        assert set(owner) == set(range(ranks)) and len(owner) == len(parameters)
        matrices = [p for p in parameters if is_matrix(p)]
        cost = [
            sum(p.numel() * min(p.shape) for p in matrices if owner[_index(parameters, p)] == r) for r in range(ranks)
        ]
        assert max(cost) < 1.5 * min(cost)
    assert not is_matrix(torch.zeros(LEAST_SIDE - 1, 500))


def _index(tensors: list[Tensor], wanted: Tensor) -> int:
    return next(i for i, t in enumerate(tensors) if t is wanted)


def _rank(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    layer, loss = problem()
    optimizer = Soap(layer.parameters(), 0.02, rank=rank, world=world)
    descend(optimizer, loss, 25)
    torch.save(layer.state_dict(), f"{folder}/{rank}.pt")
    save_moments(Path(folder), rank, layer, optimizer)
    if rank == 0:
        save_state(Path(folder), layer, copy.deepcopy(layer), Counters(step=25))
    dist.barrier()  # a rank that leaves early may end another in the middle of its last message
    dist.destroy_process_group()


def test_two_ranks_end_where_one_does_and_one_goes_on_from_their_checkpoint(tmp_path: Path) -> None:
    mp.start_processes(_rank, args=(2, str(tmp_path)), nprocs=2, start_method="spawn")  # type: ignore[attr-defined]
    layer, loss = problem()
    optimizer = Soap(layer.parameters(), 0.02)
    descend(optimizer, loss, 25)
    for rank in range(2):
        theirs = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(theirs, dict(layer.state_dict()))

    resumed, resumed_loss = problem()
    other = Soap(resumed.parameters(), 0.02)
    assert load_state(tmp_path, resumed, nn.Linear(SIDE, SIDE), other).step == 25
    descend(optimizer, loss, 15)
    descend(other, resumed_loss, 15)
    torch.testing.assert_close(resumed.weight, layer.weight)
