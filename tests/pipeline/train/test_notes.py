"""What a training notes in its model: a name, and the files it has learned from, those of its `init` included."""

import json
from pathlib import Path

from model import checkpoint
from model.core.model_files import BASE
from pipeline.dataset.learned_files import LearnedFiles
from pipeline.storage.base import Entry
from pipeline.train.notes import learned_by, notes_of
from pipeline.train.settings import TrainSettings

FILES = [Entry(f"{i}.jpg", 1000 + i, "") for i in range(50)]


def settings(**more: str) -> TrainSettings:
    return TrainSettings(**({"images": "s3://photos", "out": "models/clothing"} | more))


def test_a_model_is_named_by_its_place_unless_it_is_given_a_name() -> None:
    assert notes_of(settings(), FILES, init=None)["name"] == "clothing"
    assert notes_of(settings(name="shop 2024"), FILES, init=None)["name"] == "shop 2024"


def test_a_model_says_what_its_training_minimised() -> None:
    assert notes_of(settings(distortion="perceptual"), FILES, init=None)["distortion"] == "perceptual"


def test_a_model_that_goes_on_from_another_has_learned_from_the_files_of_both(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    network = checkpoint.load(tiny_model_folder).network
    for name, data in checkpoint.serialise(network, notes_of(settings(), FILES[:20], init=None)).items():
        (tmp_path / name).write_bytes(data)
    notes = notes_of(settings(), FILES[20:40], init=str(tmp_path))
    assert learned_by({"notes": notes}).known_among(FILES) == 40
    assert learned_by(json.loads((tmp_path / "config.json").read_text())).known_among(FILES) == 20


def test_the_shipped_model_says_what_it_has_learned_from() -> None:
    shipped = learned_by(json.loads((BASE / "config.json").read_text()))
    assert shipped.count > 0
    assert LearnedFiles() == learned_by(None) == learned_by({"notes": "no"})
