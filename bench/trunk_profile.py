"""The time of a step of a long training, by operator, and the loss of every step.

    python -m bench.trunk profile RECIPE IMAGES [--state OUT] [--steps 40] [--ranks 2]

The same seed, crops and start give the same losses, so that two versions of the code can be
compared: run it in both checkouts. Nothing is written. Times are rank 0's, of its processor and by
the clock.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.profiler import ProfilerActivity, profile

from bench.trunk_files import newest
from bench.trunk_rank import crops_of, keys_of, learner_of, meet

WARM_UP_STEPS = 3
"""Steps that are not timed: the first ones allocate memory and read images."""
TRACED_STEPS = 3
"""Steps after the others that torch's profiler watches, which takes time itself."""


def add_options(verb: argparse.ArgumentParser) -> None:
    """The options beside those of a run."""
    verb.add_argument("--state", type=Path, help="folder of a trunk, to start from its newest state")
    verb.add_argument("--steps", type=int, default=40, help="steps to time")
    verb.add_argument("--operators", type=int, default=20, help="operators to list")


def print_profile(settings: dict[str, Any], options: argparse.Namespace) -> None:
    """Train for some steps with `ranks` processes, and print what rank 0 measured."""
    state = newest(options.state) if options.state else None
    with tempfile.TemporaryDirectory() as folder:
        arguments = (Path(folder), settings, options.ranks, state, options.steps, options.operators)
        if options.ranks == 1:
            _measure(0, *arguments)
        else:
            spawn(_measure, arguments, nprocs=options.ranks)


def _measure(
    rank: int, folder: Path, settings: dict[str, Any], world: int, state: Path | None, steps: int, operators: int
) -> None:
    torch.set_num_threads(1)
    if world > 1:
        meet(folder, rank, world)
    torch.manual_seed(settings["seed"] + rank)
    learner = learner_of(settings, rank, world, state)
    with crops_of(settings, keys_of(settings), rank, world, learner.counters.step) as crops:
        losses: list[float] = []
        processor: list[float] = []
        wall: list[float] = []

        def step() -> None:
            before, started = time.process_time(), time.monotonic()
            loss, _ = learner.step(crops.next(), 0.0)
            processor.append(time.process_time() - before)
            wall.append(time.monotonic() - started)
            mean = loss.total.detach().mean()
            if world > 1:
                dist.all_reduce(mean)
            losses.append(float(mean) / world)

        for _ in range(WARM_UP_STEPS + steps):
            step()
        with profile(activities=[ProfilerActivity.CPU]) as trace:
            for _ in range(TRACED_STEPS):
                step()
    if rank == 0:
        timed = slice(WARM_UP_STEPS, WARM_UP_STEPS + steps)
        _print(losses[: timed.stop], processor[timed], wall[timed], settings["batch"] * settings["crop"] ** 2)
        print(trace.key_averages().table(sort_by="self_cpu_time_total", row_limit=operators))
    if world > 1:
        dist.destroy_process_group()


def _print(losses: list[float], processor: list[float], wall: list[float], pixels: int) -> None:
    print("losses " + " ".join(f"{loss:.5f}" for loss in losses))
    print(
        f"mean loss {statistics.fmean(losses):.5f}, of the last half {statistics.fmean(losses[len(losses) // 2 :]):.5f}"
    )
    for name, seconds in (("of this process", processor), ("by the clock", wall)):
        print(f"ms per step {name}: median {1000 * statistics.median(seconds):.0f}, least {1000 * min(seconds):.0f}")
    print(f"gigapixels per hour at the median by the clock: {3600 * pixels / 1e9 / statistics.median(wall):.2f}")
