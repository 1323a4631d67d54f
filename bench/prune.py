"""A model without its idle blocks and units: the same pictures and bytes with fewer multiply-adds.

    python -m bench.prune RECIPE IMAGES MODEL OUT

Batches of training crops decide which blocks add nothing but a constant (`model.network.idle_blocks`), and which units
of the others never open (`model.network.idle_units`). Notes and the heads for reduced pictures are those of the model;
the fingerprint is a new one. OUT may be the model's own folder.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.trunk_files import replace
from bench.trunk_redraw import first_batches
from model import checkpoint
from model.core.errors import MaepressError
from model.core.model_files import WEIGHTS, read_config
from model.network.idle_blocks import without_idle_blocks
from model.network.idle_units import mark_idle_units
from pipeline.archive.model_store import local_model


def main(argv: Sequence[str] | None = None) -> int:
    """Prune and write."""
    parser = argparse.ArgumentParser(prog="bench.prune", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", type=Path, help="sets of images, in YAML")
    parser.add_argument("images", help="folder or bucket to which the keys of the recipe are relative")
    parser.add_argument("model", help="model folder, or the name of a shipped one")
    parser.add_argument("out", type=Path, help="folder for the smaller model")
    options = parser.parse_args(argv)
    try:
        _prune(options)
    except MaepressError as e:
        print(f"bench.prune: {e}", file=sys.stderr)
        return 2
    return 0


def _prune(options: argparse.Namespace) -> None:
    settings = {"recipe": str(options.recipe), "images": options.images, "batch": 24, "crop": 192, "seed": 0}
    model = checkpoint.load(options.model)
    batches = list(first_batches(settings))
    smaller, missing = without_idle_blocks(model.network, batches)
    for name, (idle, units) in mark_idle_units(smaller, batches).items():
        print(f"{name:24} {idle:4} of {units} units idle")
    notes = read_config(Path(local_model(options.model)))["notes"]
    files = checkpoint.serialise(smaller, notes)
    if model.heads:
        files[WEIGHTS] = checkpoint.with_heads(files[WEIGHTS], model.heads)
    for name, data in files.items():
        replace(options.out / name, data)
    print(f"{options.out}: {checkpoint.load(options.out).fingerprint} without {', '.join(missing) or 'changes'}")


if __name__ == "__main__":
    sys.exit(main())
