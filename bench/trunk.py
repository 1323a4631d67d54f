"""A long training on one machine, without Ray: a trunk at a constant learning rate, and branches that decay from it.

    python -m bench.trunk run RECIPE IMAGES OUT [--ranks 2]           # runs until stopped; again: resumes
    python -m bench.trunk branch OUT NEW --minutes 45 [--distortion mse]
    python -m bench.trunk grow OUT NEW [--blocks 1]                   # the newest state with deeper transforms
    python -m bench.trunk export OUT FILE.safetensors                 # raw weights, without optimiser moments

    OUT/trunk.json       the settings of the last `run`
    OUT/state-STEP/      weights, average, moments, counters; the last two states are kept
    OUT/validation.jsonl one line per validation
    OUT/model/           the average at the last validation, as a model that `maepress` loads

A branch copies the newest state and decays from it; the folder of the trunk does not change. Any
process may be killed at any time: training since the last state is lost, nothing else. Ranks are
processes that find each other through OUT/meeting, so a process group that was stopped (SIGSTOP)
can continue hours later.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from bench.trunk_files import HISTORY, KEPT, MEETING, MODEL, SETTINGS, STATES, export, hold, newest, replace
from bench.trunk_growth import grow
from bench.trunk_validation import scored, validation_keys
from model import checkpoint
from model.core.errors import MaepressError
from model.network.loss import DISTORTIONS
from pipeline.sources.open import open_source
from pipeline.storage.open import open_store
from pipeline.train.learner import Learner
from pipeline.train.recipe import MixedCrops, read_recipe, sort_keys
from pipeline.train.validation import Validation

LOG_EVERY = 50
LONGEST_PAUSE = timedelta(days=7)
"""Longest time that a rank waits for another, so that a stopped process group can continue."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run, branch or export."""
    options = _options(argv)
    try:
        if options.verb == "run":
            run(options.out, _settings(options), options.ranks)
        elif options.verb == "branch":
            run(options.new, branch(options), options.ranks)
        elif options.verb == "grow":
            grow(options.out, options.new, options.blocks)
        else:
            export(options.out, options.file)
    except MaepressError as e:
        print(f"bench.trunk: {e}", file=sys.stderr)
        return 2
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.trunk", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("run", help="start the trunk, or resume it")
    verb.add_argument("recipe", type=Path, help="sets of images, in YAML")
    verb.add_argument("images", help="folder or bucket to which the keys of the recipe are relative")
    verb.add_argument("out", type=Path, help="folder for states, history and model")
    verb.add_argument("--init", default="base", help="base, or the folder of a model")
    verb.add_argument("--distortion", choices=DISTORTIONS, default="perceptual")
    verb.add_argument("--learning-rate", type=float, default=1e-3, help="constant, after a short warm-up")
    verb.add_argument("--batch", type=int, default=32, help="crops per step, over all ranks")
    verb.add_argument("--crop", type=int, default=128, help="side of a crop, a multiple of 64")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--validate-minutes", type=float, default=12.0)
    verb.add_argument("--save-minutes", type=float, default=3.0)
    verb.add_argument("--minutes", type=float, help="minutes of training, over all starts, after which to stop")
    verb.add_argument("--ranks", type=int, default=2)
    verb = verbs.add_parser("branch", help="copy the newest state and decay from it; again: resume the branch")
    verb.add_argument("out", type=Path, help="the trunk")
    verb.add_argument("new", type=Path, help="folder for the branch")
    verb.add_argument("--minutes", type=float, required=True, help="length of the decay")
    verb.add_argument("--distortion", choices=DISTORTIONS, help="if it differs from the trunk's")
    verb.add_argument("--learning-rate", type=float, help="rate to decay from, if it differs from the trunk's")
    verb.add_argument("--crop", type=int, help="side of a crop, if it differs from the trunk's")
    verb.add_argument("--batch", type=int, help="crops per step, if it differs from the trunk's")
    verb.add_argument("--ranks", type=int, default=1)
    verb = verbs.add_parser("grow", help="copy the newest state with deeper transforms; `run --init NEW/start` goes on")
    verb.add_argument("out", type=Path, help="the trunk, which does not change")
    verb.add_argument("new", type=Path, help="folder for the larger trunk")
    verb.add_argument("--blocks", type=int, default=1, help="blocks to add to each of the transforms' four stages")
    verb = verbs.add_parser("export", help="write weights and average of the newest state")
    verb.add_argument("out", type=Path)
    verb.add_argument("file", type=Path)
    return parser.parse_args(argv)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    names = ("init", "distortion", "learning_rate", "batch", "crop", "seed", "validate_minutes", "save_minutes")
    settings = {name: getattr(options, name) for name in names}
    return settings | {
        "recipe": str(options.recipe.resolve()),
        "images": options.images if "://" in options.images else os.path.abspath(options.images),
        "minutes": options.minutes,
        "decay_from": None,
    }


def branch(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of a branch; if its folder is new, the newest state of the trunk is copied to it.

    Raises:
        MaepressError: when the trunk has no state.
    """
    if (options.new / SETTINGS).exists():
        return dict(json.loads((options.new / SETTINGS).read_text()))
    state = newest(options.out)
    if state is None:
        raise MaepressError(f"{options.out} holds no state to branch from: start a trunk with `run`")
    settings = dict(json.loads((options.out / SETTINGS).read_text()))
    changed = ("distortion", "learning_rate", "crop", "batch")
    settings |= {name: value for name in changed if (value := getattr(options, name)) is not None}
    counters = json.loads((state / "counters.json").read_text())
    (options.new / "copy.partial").parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(state, options.new / "copy.partial", dirs_exist_ok=True)
    (options.new / "copy.partial").rename(options.new / state.name)
    start = counters["seconds"] / 60
    return settings | {"decay_from": start, "minutes": start + options.minutes}


def run(out: Path, settings: dict[str, Any], ranks: int) -> None:
    """Train with `ranks` processes; a single rank trains in this process."""
    if settings["batch"] % ranks:
        raise MaepressError(f"a batch of {settings['batch']} cannot be divided evenly over {ranks} ranks")
    out.mkdir(parents=True, exist_ok=True)
    lock = hold(out / "lock")
    for rank in range(ranks):
        hold(out / f"lock-{rank}").close()  # ranks of a killed run may need a moment to end
    replace(out / SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())
    for left_over in [*out.glob("*.partial"), out / MEETING]:
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink(missing_ok=True)
    if ranks == 1:
        Rank(out, settings, 0, 1).run()
    else:
        spawn(_enter, (out, settings, ranks), nprocs=ranks)
    lock.close()


def _enter(rank: int, out: Path, settings: dict[str, Any], world: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{(out / MEETING).resolve()}", rank=rank, world_size=world, timeout=LONGEST_PAUSE
    )
    Rank(out, settings, rank, world).run()
    dist.destroy_process_group()


class Rank:
    """One process of a run."""

    def __init__(self, out: Path, settings: dict[str, Any], rank: int, world: int) -> None:
        self.out, self.settings, self.rank, self.world = out, settings, rank, world
        self._lock = hold(out / f"lock-{rank}")
        self.learner = Learner(
            checkpoint.load(settings["init"]).network.requires_grad_(True).train(),
            peak=settings["learning_rate"],
            decay_share=1.0,
            distortion=settings["distortion"],
            seed=settings["seed"],
            rank=rank,
            world=world,
        )
        if (state := newest(out)) is not None:
            self.learner.load(state)
        self.counters = self.learner.counters
        if world > 1:
            self.learner.forward = DistributedDataParallel(self.learner.network, gradient_as_bucket_view=True)
        recipe = read_recipe(Path(settings["recipe"]))
        keys = sort_keys(recipe, (entry.key for entry in open_source(settings["images"]).entries()))
        fetch = open_store(settings["images"]).get
        share = settings["batch"] // world
        self.crops = MixedCrops(
            recipe,
            {name: train for name, (train, _) in keys.items()},
            fetch,
            batch=settings["batch"],
            places=range(rank * share, (rank + 1) * share),
            crop=settings["crop"],
            seed=[settings["seed"], self.counters.step],
        )
        self.validation = Validation(
            validation_keys(recipe, keys),
            fetch,
            rank,
            world,
            torch.device("cpu"),
            0.7,
            distortion=settings["distortion"],
        )

    def run(self) -> None:
        """Train until the end, if there is one."""
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
            for name, data in checkpoint.serialise(self.learner.average, {"validation": row}).items():
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


if __name__ == "__main__":
    sys.exit(main())
