"""Makes the model of a long training a shipped one, with its name and the files that it has learned from.

    python -m bench.ship runs/base model/weights/base --name base

Copies the folder `model` that `bench.trunk` writes, with its notes: the name, what it minimised, the last validation,
and a filter of the training files, those of the model that the training started from included.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.trunk_files import MODEL, SETTINGS
from model.core.errors import MaepressError
from model.core.model_files import CONFIG, DISTORTION, WEIGHTS, read_config
from pipeline.archive.model_name import NAME, description_in
from pipeline.archive.model_store import local_model
from pipeline.sources.open import open_source
from pipeline.storage.open import open_store
from pipeline.train.notes import LEARNED_FROM, learned_by
from pipeline.train.recipe import read_recipe, sort_keys


def main(argv: Sequence[str] | None = None) -> int:
    """Copy the model and write its notes."""
    parser = argparse.ArgumentParser(prog="bench.ship", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("training", type=Path, help="folder of a trunk or a branch")
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--name", required=True, help="the model's name")
    options = parser.parse_args(argv)
    try:
        _ship(options.training, options.folder, options.name)
    except MaepressError as e:
        print(f"bench.ship: {e}", file=sys.stderr)
        return 2
    return 0


def _ship(training: Path, folder: Path, name: str) -> None:
    settings = json.loads((training / SETTINGS).read_text())
    source = open_source(settings["images"])
    sets = sort_keys(read_recipe(Path(settings["recipe"])), (entry.key for entry in source.entries()))
    used = {key for train, held_out in sets.values() for key in (*train, *held_out)}
    before = learned_by(description_in(open_store(local_model(settings["init"]))))
    learned = before.with_files(entry for entry in source.entries() if entry.key in used)
    description = read_config(training / MODEL)
    description["notes"] = {
        NAME: name,
        DISTORTION: settings["distortion"],
        **description["notes"],
        LEARNED_FROM: learned.to_note(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes((training / MODEL / WEIGHTS).read_bytes())
    (folder / CONFIG).write_text(json.dumps(description, indent=1) + "\n")
    print(f"{folder}: {name} {description['fingerprint']}, learned from {learned.count} files")


if __name__ == "__main__":
    sys.exit(main())
