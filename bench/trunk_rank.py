"""One process of a long training: its learner, its crops, and the loop of steps, validations and saves."""

import json
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from bench.trunk_files import HISTORY, KEPT, MEETING, MODEL, STATES, hold, newest, replace
from bench.trunk_validation import scored, validation_keys
from model import checkpoint
from model.core.model_files import DISTORTION
from pipeline.sources.open import open_source
from pipeline.storage.open import open_store
from pipeline.train.crops_ahead import CropsAhead
from pipeline.train.learner import Learner
from pipeline.train.recipe import MixedCrops, read_recipe, sort_keys
from pipeline.train.validation import Validation

LOG_EVERY = 50
"""Steps between two lines of output."""
VALIDATION_SCALE = 0.7
"""Factor by which held-out images are shrunk, about the middle of the recipe's scales."""
LONGEST_PAUSE = timedelta(days=7)
"""Longest time that a rank waits for another, so that a stopped process group can continue."""
Keys = dict[str, tuple[list[str], list[str]]]
"""For each set of a recipe, keys to train on and keys held out."""


def meet(out: Path, rank: int, world: int) -> None:
    """Join the process group of the ranks, which find each other through a file in `out`."""
    dist.init_process_group(
        "gloo", init_method=f"file://{(out / MEETING).resolve()}", rank=rank, world_size=world, timeout=LONGEST_PAUSE
    )


def learner_of(settings: dict[str, Any], rank: int, world: int, state: Path | None) -> Learner:
    """The learner of a rank, from a state if there is one."""
    learner = Learner(
        checkpoint.load(settings["init"]).network.requires_grad_(True).train(),
        peak=settings["learning_rate"],
        decay_share=1.0,
        distortion=settings["distortion"],
        seed=settings["seed"],
        rank=rank,
        world=world,
    )
    if state is not None:
        learner.load(state)
    if world > 1:
        learner.forward = DistributedDataParallel(learner.network, gradient_as_bucket_view=True)
    return learner


def keys_of(settings: dict[str, Any]) -> Keys:
    """The keys of the recipe's sets in the source."""
    recipe = read_recipe(Path(settings["recipe"]))
    return sort_keys(recipe, (entry.key for entry in open_source(settings["images"]).entries()))


def crops_of(settings: dict[str, Any], keys: Keys, rank: int, world: int, step: int) -> CropsAhead:
    """A rank's share of every batch from a step on."""
    share = settings["batch"] // world
    crops = MixedCrops(
        read_recipe(Path(settings["recipe"])),
        {name: train for name, (train, _) in keys.items()},
        open_store(settings["images"]).get,
        batch=settings["batch"],
        places=range(rank * share, (rank + 1) * share),
        crop=settings["crop"],
        seed=[settings["seed"], step],
    )
    return CropsAhead(crops.next)


class Rank:
    """One process of a run."""

    def __init__(self, out: Path, settings: dict[str, Any], rank: int, world: int) -> None:
        self.out, self.settings, self.rank, self.world = out, settings, rank, world
        self._lock = hold(out / f"lock-{rank}")
        self.learner = learner_of(settings, rank, world, newest(out))
        self.counters = self.learner.counters
        keys = keys_of(settings)
        self.crops = crops_of(settings, keys, rank, world, self.counters.step)
        self.validation = Validation(
            validation_keys(read_recipe(Path(settings["recipe"])), keys),
            open_store(settings["images"]).get,
            rank,
            world,
            torch.device("cpu"),
            VALIDATION_SCALE,
            distortion=settings["distortion"],
        )

    def run(self) -> None:
        """Train until the end, if there is one."""
        with self.crops:
            self._run()

    def _run(self) -> None:
        counters, pause = self.counters, 60 * self.settings["validate_minutes"]
        last = time.monotonic()
        next_save = counters.seconds + 60 * self.settings["save_minutes"]
        next_validation = (
            counters.seconds
            if counters.step == 0 or not (self.out / HISTORY).exists()
            else (counters.seconds // pause + 1) * pause
        )
        while True:
            now = time.monotonic()
            counters.seconds += min(now - last, 60.0)  # pauses do not count as training
            last = now
            progress, save, validate = self._agreed(next_save, next_validation)
            if validate:
                self._validate()
                last = time.monotonic()
                next_validation = (counters.seconds // pause + 1) * pause
            if save or progress >= 1:
                self._save()
                next_save = counters.seconds + 60 * self.settings["save_minutes"]
            if progress >= 1:
                return
            loss, rate = self.learner.step(self.crops.next(), progress)
            if self.rank == 0 and counters.step % LOG_EVERY == 0:
                print(
                    f"step {counters.step}  {counters.seconds / 60:.1f} min  {counters.pixels / 1e9:.3f} Gpx  "
                    f"loss {loss.total.mean():.3f}  {loss.bpp.mean():.3f} bpp  rate {rate:.2e}",
                    flush=True,
                )

    def _agreed(self, next_save: float, next_validation: float) -> tuple[float, bool, bool]:
        """Progress of the decay, whether to save, whether to validate, by the clock of rank 0."""
        minutes, start, end = self.counters.seconds / 60, self.settings["decay_from"], self.settings["minutes"]
        ended = end is not None and minutes >= end
        progress = 1.0 if ended else 0.0 if start is None else max(0.0, (minutes - start) / (end - start))
        due = ended or self.counters.seconds >= next_validation
        agreed = torch.tensor(
            [progress, float(self.counters.seconds >= next_save), float(due), self.counters.seconds],
            dtype=torch.float64,
        )
        if self.world > 1:
            dist.broadcast(agreed, 0)
        progress, save, validate, self.counters.seconds = agreed.tolist()
        return progress, bool(save), bool(validate)

    def _validate(self) -> None:
        metrics = self.validation.measure(self.learner.average)
        if self.rank == 0:
            counters = self.counters
            metrics |= scored(self.validation, self.learner.average)
            row = {
                "step": counters.step,
                "minutes": round(counters.seconds / 60, 2),
                "gigapixels": round(counters.pixels / 1e9, 4),
            } | {name: round(value, 5) for name, value in metrics.items()}
            print(json.dumps(row), flush=True)
            history = (self.out / HISTORY).read_text().splitlines() if (self.out / HISTORY).exists() else []
            kept = [line for line in history if json.loads(line)["step"] < counters.step]
            replace(self.out / HISTORY, ("\n".join([*kept, json.dumps(row)]) + "\n").encode())
            notes: dict[str, object] = {DISTORTION: self.settings["distortion"], "validation": row}
            for name, data in checkpoint.serialise(self.learner.average, notes).items():
                replace(self.out / MODEL / name, data)

    def _save(self) -> None:
        """Write the parts of all ranks, then rename the folder."""
        fresh = self.out / "state.partial"
        fresh.mkdir(exist_ok=True)
        self.learner.save(fresh)
        if self.world > 1:
            dist.barrier()
        if self.rank == 0:
            for file in fresh.iterdir():
                with file.open("rb") as handle:
                    os.fsync(handle.fileno())
            place = self.out / f"state-{self.counters.step:09d}"
            if place.exists():
                shutil.rmtree(fresh)
            else:
                fresh.rename(place)
            for old in sorted(self.out.glob(STATES))[:-KEPT]:
                shutil.rmtree(old)
        if self.world > 1:
            dist.barrier()
