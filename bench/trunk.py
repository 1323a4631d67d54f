"""A long training on one machine, without Ray: a trunk at a constant learning rate, and branches that decay from it.

    python -m bench.trunk run RECIPE IMAGES OUT [--ranks 2]           # runs until stopped; again: resumes
    python -m bench.trunk branch OUT NEW --minutes 45 [--distortion mse]
    python -m bench.trunk grow OUT NEW [--fine 1] [--channels 192]    # the newest state with larger transforms
    python -m bench.trunk redraw OUT NEW                              # the newest state without units that stay closed
    python -m bench.trunk export OUT FILE.safetensors                 # raw weights, without optimiser moments
    python -m bench.trunk profile RECIPE IMAGES [--state OUT]         # time per step (bench.trunk_profile)

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from bench import trunk_profile
from bench.trunk_files import MEETING, SETTINGS, export, hold, newest, replace
from bench.trunk_growth import grow
from bench.trunk_rank import Rank, meet
from bench.trunk_redraw import redraw
from model.core.errors import MaepressError
from model.network.loss import DISTORTIONS
from pipeline.train.checkpoint import COUNTERS


def main(argv: Sequence[str] | None = None) -> int:
    """Run, branch, grow, redraw, export or profile."""
    options = _options(argv)
    try:
        if options.verb == "run":
            run(options.out, _settings(options), options.ranks)
        elif options.verb == "branch":
            run(options.new, branch(options), options.ranks)
        elif options.verb == "grow":
            grow(options.out, options.new, options.fine, options.coarse, options.channels)
        elif options.verb == "redraw":
            redraw(options.out, options.new)
        elif options.verb == "profile":
            trunk_profile.print_profile(_settings(options), options)
        else:
            export(options.out, options.file)
    except MaepressError as e:
        print(f"bench.trunk: {e}", file=sys.stderr)
        return 2
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.trunk", description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, summary in (("run", "start the trunk, or resume it"), ("profile", "print the time of a step by part")):
        verb = verbs.add_parser(name, help=summary)
        verb.add_argument("recipe", type=Path, help="sets of images, in YAML")
        verb.add_argument("images", help="folder or bucket to which the keys of the recipe are relative")
        verb.add_argument("--init", default="base", help="folder of a model, or the name of a shipped one")
        verb.add_argument("--distortion", choices=DISTORTIONS, default="perceptual")
        verb.add_argument("--learning-rate", type=float, default=1e-3, help="constant, after a short warm-up")
        verb.add_argument("--batch", type=int, default=32, help="crops per step, over all ranks")
        verb.add_argument("--crop", type=int, default=128, help="side of a crop, a multiple of 64")
        verb.add_argument("--seed", type=int, default=0)
        verb.add_argument("--ranks", type=int, default=2)
    trunk_profile.add_options(verbs.choices["profile"])
    verb = verbs.choices["run"]
    verb.add_argument("out", type=Path, help="folder for states, history and model")
    verb.add_argument("--validate-minutes", type=float, default=12.0)
    verb.add_argument("--save-minutes", type=float, default=3.0)
    verb.add_argument("--minutes", type=float, help="minutes of training, over all starts, after which to stop")
    verb = verbs.add_parser("branch", help="copy the newest state and decay from it; again: resume the branch")
    verb.add_argument("out", type=Path, help="the trunk")
    verb.add_argument("new", type=Path, help="folder for the branch")
    verb.add_argument("--minutes", type=float, required=True, help="length of the decay")
    verb.add_argument("--distortion", choices=DISTORTIONS, help="if it differs from the trunk's")
    verb.add_argument("--learning-rate", type=float, help="rate to decay from, if it differs from the trunk's")
    verb.add_argument("--crop", type=int, help="side of a crop, if it differs from the trunk's")
    verb.add_argument("--batch", type=int, help="crops per step, if it differs from the trunk's")
    verb.add_argument("--ranks", type=int, default=1)
    verb = verbs.add_parser("grow", help="copy the newest state with larger transforms; `run --init NEW/start` goes on")
    verb.add_argument("out", type=Path, help="the trunk, which does not change")
    verb.add_argument("new", type=Path, help="folder for the larger trunk")
    verb.add_argument("--fine", type=int, default=0, help="blocks to add at 1/8 of the resolution, in both transforms")
    verb.add_argument("--coarse", type=int, default=0, help="likewise, at 1/16")
    verb.add_argument("--channels", type=int, help="channels at 1/8 of the resolution, if more than now")
    verb = verbs.add_parser("redraw", help="copy the newest state, with units that stay closed drawn anew")
    verb.add_argument("out", type=Path, help="the trunk, which does not change")
    verb.add_argument("new", type=Path, help="folder for the trunk that goes on")
    verb = verbs.add_parser("export", help="write weights and average of the newest state")
    verb.add_argument("out", type=Path)
    verb.add_argument("file", type=Path)
    return parser.parse_args(argv)


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    names = ("init", "distortion", "learning_rate", "batch", "crop", "seed", "validate_minutes", "save_minutes")
    settings = {name: getattr(options, name, None) for name in names}
    return settings | {
        "recipe": str(options.recipe.resolve()),
        "images": options.images if "://" in options.images else os.path.abspath(options.images),
        "minutes": getattr(options, "minutes", None),
        "decay_from": None,
    }


def branch(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of a branch; if its folder has none yet, the newest state of the trunk is copied to it.

    Raises:
        MaepressError: when the trunk has no state, or the branch's folder is that of a trunk.
    """
    if (options.new / SETTINGS).exists():
        begun = dict(json.loads((options.new / SETTINGS).read_text()))
        if begun["decay_from"] is None:
            raise MaepressError(f"{options.new} is a trunk, not a branch: give a new folder")
        return begun
    state = newest(options.out)
    if state is None:
        raise MaepressError(f"{options.out} holds no state to branch from: start a trunk with `run`")
    settings = dict(json.loads((options.out / SETTINGS).read_text()))
    changed = ("distortion", "learning_rate", "crop", "batch")
    settings |= {name: value for name in changed if (value := getattr(options, name)) is not None}
    start = json.loads((state / COUNTERS).read_text())["seconds"] / 60
    if not (options.new / state.name).exists():  # it is there, and whole, if a start was killed before the first step
        partial = options.new / "copy.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(state, partial)
        partial.rename(options.new / state.name)
    return settings | {"decay_from": start, "minutes": start + options.minutes}


def run(out: Path, settings: dict[str, Any], ranks: int) -> None:
    """Train with `ranks` processes; a single rank trains in this process."""
    if settings["batch"] % ranks:
        raise MaepressError(f"a batch of {settings['batch']} cannot be divided evenly over {ranks} ranks")
    out.mkdir(parents=True, exist_ok=True)
    lock = hold(out / "lock")
    for left_over in out.glob("lock-*"):
        hold(left_over).close()  # ranks of a killed run, perhaps more than now, may need a moment to end
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
    meet(out, rank, world)
    Rank(out, settings, rank, world).run()
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
