"""A training minimises what it is told to, or else what the model it starts from was trained for."""

from pathlib import Path

import fsspec
import pytest

from model import checkpoint
from model.core.errors import MaepressError
from model.core.model_files import CONFIG
from pipeline.train.distortion import with_distortion
from pipeline.train.run import train
from pipeline.train.settings import TrainSettings


def chosen(init: str, **more: str) -> object:
    return with_distortion(TrainSettings(**({"images": "photos", "out": "m", "init": init} | more))).distortion


def saying(folder: Path, tiny: Path, notes: dict[str, object]) -> str:
    folder.mkdir()
    for name, data in checkpoint.serialise(checkpoint.load(tiny).network, notes).items():
        (folder / name).write_bytes(data)
    return str(folder)


def test_adapting_goes_on_with_the_distortion_of_the_model() -> None:
    assert chosen("base") == "perceptual"
    assert chosen("base-psnr") == "mse"
    assert chosen("base", distortion="mse") == "mse"
    assert chosen("scratch") == chosen("random") == "mse"


@pytest.mark.parametrize(
    ("said", "expected"), [("bce", "bce"), ("ms-ssim", "ms-ssim"), ("beauty", "mse"), (["mse"], "mse"), (None, "mse")]
)
def test_a_note_that_is_no_distortion_counts_as_none(
    said: object, expected: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    assert chosen(saying(tmp_path / "m", tiny_model_folder, {"distortion": said})) == expected


def test_crops_must_suit_the_distortion_of_the_model(tmp_path: Path, tiny_model_folder: Path) -> None:
    init = saying(tmp_path / "m", tiny_model_folder, {"distortion": "ms-ssim"})
    with pytest.raises(MaepressError, match="--crop 192"):
        train(TrainSettings(images=str(tmp_path), out=str(tmp_path / "new"), init=init, workers=1))


def test_what_a_model_elsewhere_was_trained_for_is_read_without_its_weights(tiny_model_folder: Path) -> None:
    with fsspec.open("memory://distortion/config.json", "wb") as file:
        file.write(checkpoint.serialise(checkpoint.load(tiny_model_folder).network, {"distortion": "bce"})[CONFIG])
    assert chosen("memory://distortion") == "bce"
