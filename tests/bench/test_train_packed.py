"""Packing photographs and training on the pack, here on the CPU."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from bench import pack, train_packed
from model import checkpoint
from tests.conftest import photo_like


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    (folder / "a").mkdir()
    for i in range(12):
        Image.fromarray(photo_like(160, 200, seed=i)).save(folder / "a" / f"{i}.png")
    file = folder / "pack.tar"
    assert pack.main([str(folder), str(file), "--scale", "0.6", "--most-mb", "0.5"]) == 0
    return file


def test_a_pack_holds_every_image_shrunk_and_keeps_its_limit(packed: Path) -> None:
    files = pack.read(packed)
    assert sorted(files) == sorted(f"a/{i}.png" for i in range(12))
    assert packed.stat().st_size <= 500_000
    (image,) = train_packed.on_device([files["a/3.png"]], 96, torch.device("cpu"))
    assert image.shape == (96, 120, 3), "and sizes that hold no crop are left out"
    assert pack.main([str(packed.parent), str(packed), "--most-mb", "0.001"]) == 2
    assert pack.main([str(packed.parent / "nothing"), str(packed)]) == 2


def test_it_learns_and_the_same_command_with_more_minutes_goes_on(
    packed: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    command = [str(packed), str(tmp_path), "--init", str(tiny_model_folder), "--crop", "64", "--batch", "4"]
    assert train_packed.main([*command, "--minutes", "0.15", "--learning-rate", "0.002"]) == 0
    first = json.loads((tmp_path / "state" / "counters.json").read_text())
    notes = json.loads((tmp_path / "config.json").read_text())["notes"]
    assert notes["distortion"] == "mse"
    kept = notes["validation"]["step"]
    assert first["step"] > 10 and kept > 0, "the model kept is a trained one, better than where it started"
    assert train_packed.main([*command, "--minutes", "0.2", "--learning-rate", "0.002"]) == 0
    second = json.loads((tmp_path / "state" / "counters.json").read_text())
    assert second["step"] > first["step"] and second["seconds"] >= 12
    assert checkpoint.load(tmp_path).fingerprint
    assert not list(tmp_path.glob("*.partial"))


def test_a_model_is_trained_on_for_what_it_was_trained_for(
    packed: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    perceptual = tmp_path / "perceptual"
    shutil.copytree(tiny_model_folder, perceptual)
    description = json.loads((perceptual / "config.json").read_text())
    (perceptual / "config.json").write_text(json.dumps(description | {"notes": {"distortion": "perceptual"}}))
    rows = {}
    for name, init in (("mse", tiny_model_folder), ("perceptual", perceptual)):
        command = [str(packed), str(tmp_path / f"out-{name}"), "--init", str(init), "--crop", "64", "--batch", "4"]
        assert train_packed.main([*command, "--minutes", "0.001"]) == 0
        notes = json.loads((tmp_path / f"out-{name}" / "config.json").read_text())["notes"]
        assert notes["distortion"] == name == checkpoint.load(tmp_path / f"out-{name}").distortion
        rows[name] = notes["validation"]
    assert rows["mse"]["distortion/20"] != rows["perceptual"]["distortion/20"]
