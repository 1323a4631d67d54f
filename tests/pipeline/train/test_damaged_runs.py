"""A training that goes on where an earlier one stopped, when what that one left is damaged or of another network."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from model.core.errors import MaepressError
from pipeline.train.checkpoint import STATE, Unresumable
from pipeline.train.run import TrainSettings, train
from pipeline.train.worker import HISTORY
from tests.conftest import photo_like

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i in range(4):
        Image.fromarray(photo_like(80, 96, seed=i)).save(folder / f"{i}.png")
    return folder


def settings(images: Path, out: Path, init: Path, **more: object) -> TrainSettings:
    values: dict[str, object] = {"images": str(images), "out": str(out), "init": str(init), "workers": 1, "batch": 1}
    return TrainSettings(**(values | {"crop": 64, "max_steps": 1, "max_failures": 0} | more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A complete run of one step."""
    out = tmp_path_factory.mktemp("trained")
    train(settings(images, out, tiny_model_folder))
    return out


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def cut_state(out: Path) -> None:
    halved(next(out.glob(f"run/*/{STATE}")))


def cut_list_of_checkpoints(out: Path) -> None:
    halved(next(out.glob("run/*.json")))


def lose_a_checkpoint(out: Path) -> None:
    shutil.rmtree(next(out.glob(f"run/*/{STATE}")).parent)


def spoil_the_history(out: Path) -> None:
    with (out / HISTORY).open("ab") as file:
        file.write(b"\xff garbage\n")


@pytest.mark.parametrize("damage", [cut_state, cut_list_of_checkpoints, lose_a_checkpoint])
def test_a_damaged_checkpoint_is_one_line_with_the_remedy_and_the_model_stays(
    images: Path, tmp_path: Path, trained: Path, tiny_model_folder: Path, damage: Callable[[Path], None]
) -> None:
    out = tmp_path / "m"
    shutil.copytree(trained, out)
    damage(out)
    model = (out / "model.safetensors").read_bytes()
    with pytest.raises(Unresumable) as error:
        train(settings(images, out, tiny_model_folder, max_steps=2))
    line = str(error.value)
    assert f"{out}/run" in line and "--no-resume" in line and "\n" not in line
    assert "resumes from the last checkpoint" not in line, "it would fail again"
    assert (out / "model.safetensors").read_bytes() == model


def test_a_damaged_history_is_named_with_its_line(
    images: Path, tmp_path: Path, trained: Path, tiny_model_folder: Path
) -> None:
    out = tmp_path / "m"
    shutil.copytree(trained, out)
    spoil_the_history(out)
    with pytest.raises(MaepressError, match=f"^{out}/{HISTORY} is damaged in line 3: remove that line"):
        train(settings(images, out, tiny_model_folder, max_steps=2))


def test_a_run_of_another_network_is_not_gone_on_with(
    images: Path, tmp_path: Path, trained: Path, tiny_model_folder: Path
) -> None:
    out = tmp_path / "m"
    shutil.copytree(trained, out)
    with pytest.raises(Unresumable, match="another network"):
        train(settings(images, out, tiny_model_folder, deepen=1, max_steps=2))


def test_a_complete_run_that_is_started_again_has_no_row_twice(
    images: Path, tmp_path: Path, trained: Path, tiny_model_folder: Path
) -> None:
    out = tmp_path / "m"
    shutil.copytree(trained, out)
    again = train(settings(images, out, tiny_model_folder))
    assert [row["step"] for row in again.validation] == [0, 1]
    halved(out / "config.json")
    with pytest.raises(MaepressError, match=f"{out}.*config.json"):
        train(settings(images, out, tiny_model_folder))
