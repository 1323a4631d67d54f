"""Learning with several ranks: the same crops, qualities, noise and curve as with one."""

import io
import json
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from torch.nn.parallel import DistributedDataParallel

from model.core.config import QUALITIES
from model.core.errors import MaepressError
from model.network.network import Network
from pipeline.train.crops import Crops
from pipeline.train.learner import MOST_LEFT_OUT, Learner
from pipeline.train.step_randomness import draw_step
from tests.conftest import TINY, photo_like

BATCH, STEPS = 4, 6


def learn(rank: int, world: int, folder: str, seed: int = 0) -> None:
    """A short run; rank 0 leaves each step's loss, the mean over the whole batch, in `folder/WORLD-SEED.json`."""
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    files = {}
    for i in range(12):
        file = io.BytesIO()
        Image.fromarray(photo_like(80, 96, seed=i)).save(file, "PNG")
        files[f"{i:02d}"] = file.getvalue()
    torch.manual_seed(0)
    network = Network(TINY)
    learner = Learner(network, peak=2e-3, decay_share=0.6, hide=0.2, seed=seed, rank=rank, world=world)
    if world > 1:
        learner.forward = DistributedDataParallel(network)
    share = BATCH // world
    places = range(rank * share, (rank + 1) * share)
    crops = Crops(
        list(files), files.__getitem__, batch=BATCH, places=places, crop=64, scales=(0.8, 1.0), seed=[seed, 0]
    )
    losses = []
    for step in range(STEPS):
        loss = learner.step(crops.next(), step / STEPS)[0].total.detach().mean()
        if world > 1:
            dist.all_reduce(loss)
        losses.append(float(loss) / world)
    if rank == 0:
        Path(folder, f"{world}-{seed}.json").write_text(json.dumps(losses))
    if world > 1:
        dist.barrier()  # a rank that leaves early may end another in the middle of its last message
        dist.destroy_process_group()


def test_a_training_that_cannot_learn_any_more_says_so_and_one_bad_batch_changes_nothing() -> None:
    torch.manual_seed(0)
    learner = Learner(Network(TINY), peak=2e-3, decay_share=0.6)
    image, factor = torch.rand(1, 64, 64, 3), torch.nan
    learner.network.analysis.stem.weight.register_hook(lambda gradient: gradient * factor)
    before = [weight.detach().clone() for weight in learner.network.parameters()]
    for _ in range(MOST_LEFT_OUT - 1):
        learner.step(image, 0.0)
    assert all(torch.equal(old, new) for old, new in zip(before, learner.network.parameters(), strict=True))
    factor = 1.0
    learner.step(image, 0.0)
    factor = torch.nan
    with pytest.raises(MaepressError, match=f"last {MOST_LEFT_OUT} batches had no finite gradient"):
        for _ in range(MOST_LEFT_OUT):
            learner.step(image, 0.0)
    with pytest.raises(MaepressError, match="training has diverged"):
        learner.step(torch.full_like(image, torch.nan), 0.0)


@pytest.mark.parametrize("part", ["analysis.stem", "hyper_analysis.down2", "means.first", "means.later.0.out"])
def test_weights_that_are_not_finite_are_a_training_that_has_diverged(part: str) -> None:
    network = Network(TINY)
    with torch.no_grad():
        network.get_submodule(part).weight.fill_(torch.inf)  # type: ignore[operator,union-attr]
    learner = Learner(network, peak=2e-3, decay_share=0.6)
    with pytest.raises(MaepressError, match="training has diverged"):
        learner.step(torch.rand(1, 64, 64, 3), 0.0)


@pytest.mark.slow
def test_four_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    learn(0, 1, str(tmp_path))
    learn(0, 1, str(tmp_path), 1)
    mp.start_processes(learn, args=(4, str(tmp_path)), nprocs=4, start_method="spawn")  # type: ignore[attr-defined]
    one, other, four = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1-0", "1-1", "4-0"))
    assert four[0] == pytest.approx(one[0], rel=1e-5), "before the first update only the order of sums differs"
    assert four == pytest.approx(one, rel=1e-2), "rounding grows from step to step"
    assert other != pytest.approx(one, rel=1e-2)


@pytest.mark.parametrize("count", [1, 3, 16, 64, 100])
def test_a_batchs_qualities_are_spread_evenly_and_each_may_come_anywhere(count: int) -> None:
    image, bounds = torch.zeros(count, 64, 64, 3), torch.arange(count + 1) * QUALITIES / count
    steps = (draw_step(5, step, image, rank=0, world=1, channels=6, hide=0.0) for step in range(600))
    drawn = torch.stack([numbers.quality for numbers in steps])
    ranked = drawn.sort(1).values
    assert (ranked >= bounds[:-1].floor()).all() and (ranked < bounds[1:].ceil()).all()
    assert (torch.bincount(drawn[:, 0], minlength=QUALITIES) > 0).all(), "600 draws of the first crop"


def test_a_rank_draws_its_share_of_the_batch_and_every_step_anew() -> None:
    image = torch.zeros(8, 128, 64, 3)
    whole = draw_step(5, 3, image, rank=0, world=1, channels=6, hide=0.3)
    for rank in range(2):
        part = draw_step(5, 3, image[:4], rank=rank, world=2, channels=6, hide=0.3)
        for name in ("quality", "noise", "hidden"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[4 * rank : 4 * rank + 4])
    assert whole.noise.shape == (8, 2, 1, 6) and -0.5 <= float(whole.noise.min()) < float(whole.noise.max()) < 0.5
    assert not torch.equal(draw_step(5, 4, image, rank=0, world=1, channels=6, hide=0.3).noise, whole.noise)
    assert not torch.equal(draw_step(6, 3, image, rank=0, world=1, channels=6, hide=0.3).noise, whole.noise)
