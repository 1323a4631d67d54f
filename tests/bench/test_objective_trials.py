"""Trials of the perceptual distortion: a trial trains a model, and a model compared with itself has no difference."""

import io
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import model.network.loss
import model.network.structural_error
import pipeline.train.learner
from bench import objective_trials
from model import checkpoint
from tests.conftest import photo_like

pytestmark = pytest.mark.slow
SETS = ("web", "sample", "photos")
RECIPE = "sets:\n" + "".join(f"  {name}: {{keys: ['{name}/*'], crops: 1}}\n" for name in SETS) + "drawn: 1\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for i, folder in enumerate(2 * (*SETS, "clothing/validation")):
        file = io.BytesIO()
        Image.fromarray(photo_like(192, 192, seed=i)).save(file, "PNG")
        (tmp_path / "images" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / f"images/{folder}/{i}.png").write_bytes(file.getvalue())
    (tmp_path / "images/train/web").mkdir(parents=True)
    shutil.copy(tmp_path / "images/web/0.png", tmp_path / "images/train/web/pixls-0.png")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return tmp_path


def test_a_trial_trains_with_its_weights_and_writes_a_model(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (model.network.loss, "SQUARED_SHARE"),
        (model.network.loss, "STRUCTURAL_WEIGHT"),
        (model.network.loss, "VISIBLE_WEIGHT"),
        *((model.network.structural_error, name) for name in ("MEANS", "PEAKS", "NORM")),
        (pipeline.train.learner, "AVERAGE"),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))  # the trial changes them; restored after the test
    common = [str(place / "recipe.yaml"), str(place / "images")]
    for name, structural in (("a", "900"), ("b", "0")):
        trial = ["--squared", "0.3", "--structural", structural, "--steps", "2", "--batch", "4"]
        assert objective_trials.main(["train", *common, str(place / name), *trial]) == 0
    weights = [
        torch.cat([p.flatten() for p in checkpoint.load(source).network.parameters()])
        for source in ("base", place / "a", place / "b")
    ]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    assert checkpoint.load(place / "a").distortion == "perceptual"


@pytest.mark.skipif(not shutil.which("butteraugli_main"), reason="needs Debian's libjxl-devtools")
def test_a_model_compared_with_itself_has_no_difference(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ssimulacra2")
    assert objective_trials.main(["compare", str(place / "recipe.yaml"), str(place / "images"), "base", "base"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    for line in lines:
        assert "PSNR +0.0  SSIMULACRA2 +0.0  butteraugli +0.0" in line
