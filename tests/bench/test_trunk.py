"""The trunk: it resumes after any kill, its counters stay right, and a branch does not change it."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from bench import trunk, trunk_files, trunk_profile, trunk_validation
from model import checkpoint
from model.network.network import Network
from pipeline.train.validation import Validation
from tests.conftest import TINY, photo_like

RECIPE = "sets:\n  all: {keys: ['*'], crops: 3}\ndrawn: 1\nvalidation_share: 0.2\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for i in range(12):
        file = io.BytesIO()
        Image.fromarray(photo_like(96, 96, seed=i)).save(file, "PNG")
        (tmp_path / f"images/{i:02d}.png").write_bytes(file.getvalue())
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    torch.manual_seed(0)
    (tmp_path / "tiny").mkdir()
    for name, data in checkpoint.serialise(Network(TINY)).items():
        (tmp_path / "tiny" / name).write_bytes(data)
    return tmp_path


def command(place: Path, *more: str) -> list[str]:
    return [
        *("run", str(place / "recipe.yaml"), str(place / "images"), str(place / "out"), "--init", str(place / "tiny")),
        *("--batch", "4", "--crop", "64", "--validate-minutes", "0.05", "--save-minutes", "0.01", *more),
    ]


def counters(out: Path) -> dict[str, float]:
    state = trunk_files.newest(out)
    assert state is not None
    return dict(json.loads((state / "counters.json").read_text()))


def wait_for_step(process: subprocess.Popen[bytes], out: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while trunk_files.newest(out) is None or counters(out)["step"] < step:
        assert process.poll() is None, "training ended"
        assert time.monotonic() < deadline, "no state in time"
        time.sleep(0.05)


def start(place: Path, *more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench.trunk", *command(place, *more)],
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_trunk_resumes_from_its_last_state_and_its_counters_stay_right(place: Path) -> None:
    first = start(place, "--ranks", "2")
    try:
        wait_for_step(first, place / "out", 5)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    before = counters(place / "out")
    (place / "out/state.partial").mkdir(exist_ok=True)  # as if killed while it saved
    (place / "out/state.partial/state.safetensors").write_bytes(b"half")
    minutes = before["seconds"] / 60 + 0.1
    assert trunk.main(command(place, "--ranks", "1", "--minutes", str(minutes))) == 0
    after = counters(place / "out")
    assert after["step"] > before["step"] and after["seconds"] >= before["seconds"] + 6
    assert after["pixels"] == after["step"] * 4 * 64 * 64
    rows = [json.loads(line) for line in (place / "out/validation.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    assert rows[-1]["gigapixels"] == pytest.approx(after["pixels"] / 1e9, abs=1e-4)
    assert {"loss", "psnr/20", "distortion/20", "bpp/20"} <= rows[-1].keys()
    assert len(list((place / "out").glob(trunk_files.STATES))) <= trunk_files.KEPT
    checkpoint.load(place / "out/model")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_trainings_of_one_folder_exclude_each_other(
    place: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk_files, "TAKEOVER_SECONDS", 0.5)
    first = start(place, "--ranks", "1")
    try:
        wait_for_step(first, place / "out", 1)
        assert trunk.main(command(place, "--ranks", "1", "--minutes", "0.01")) == 2
        assert "is being trained by another run" in capfd.readouterr().err
        assert first.poll() is None
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_branch_decays_from_a_copy_and_does_not_change_the_trunk(place: Path) -> None:
    assert trunk.main(command(place, "--ranks", "1", "--minutes", "0.1")) == 0
    out, new = place / "out", place / "new"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    arguments = ["branch", str(out), str(new), "--minutes", "0.1", "--distortion", "mse"]
    assert trunk.main(arguments) == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    settings = json.loads((new / trunk_files.SETTINGS).read_text())
    assert (
        settings["distortion"] == "mse" and json.loads((out / trunk_files.SETTINGS).read_text())["distortion"] != "mse"
    )
    assert counters(new)["step"] > counters(out)["step"]
    assert counters(new)["seconds"] == pytest.approx(counters(out)["seconds"] + 6, abs=3)
    ended = counters(new)
    assert trunk.main(arguments) == 0  # again: it is over
    assert counters(new)["step"] == ended["step"]


def test_weights_are_exported_with_their_counters_and_the_model_says_what_it_minimised(place: Path) -> None:
    assert trunk.main(command(place, "--ranks", "1", "--minutes", "0.02")) == 0
    file = place / "weights/latest.safetensors"
    assert trunk.main(["export", str(place / "out"), str(file)]) == 0
    with safe_open(file, framework="pt") as weights:
        assert json.loads(weights.metadata()["counters"])["step"] == counters(place / "out")["step"]
        names = set(weights.keys())
    assert {f"{part}.{name}" for part in ("weight", "average") for name in Network(TINY).state_dict()} <= names
    assert checkpoint.load(place / "out/model").distortion == "perceptual"


def test_validation_scores_decoded_pictures(place: Path) -> None:
    keys = sorted(str(file) for file in (place / "images").iterdir())
    validation = Validation(keys, lambda key: Path(key).read_bytes(), 0, 1, torch.device("cpu"))
    scores = trunk_validation.scored(validation, checkpoint.load(place / "tiny").network)
    assert list(scores) == [f"ssimulacra2/{quality}" for quality in trunk_validation.SCORED_QUALITIES]
    assert -200 < scores["ssimulacra2/20"] < scores["ssimulacra2/44"] < 100


@pytest.mark.slow
def test_a_grown_trunk_goes_on_with_its_counters_and_moments(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trunk.main(command(place, "--ranks", "1", "--minutes", "0.02")) == 0
    out, new = place / "out", place / "new"
    before, steps = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}, counters(out)["step"]
    assert trunk.main(["grow", str(out), str(new), "--fine", "2", "--coarse", "1"]) == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    old, larger = trunk_files.newest(out), trunk_files.newest(new)
    assert old is not None and larger is not None
    for name in ("counters.json", "moments-0.safetensors"):
        assert (old / name).read_bytes() == (larger / name).read_bytes()
    weights, grown = (load_file(folder / "state.safetensors") for folder in (old, larger))
    assert all(torch.equal(grown[name], value) for name, value in weights.items())
    added = {name.removeprefix("weight.") for name in grown.keys() - weights.keys() if name.startswith("weight.")}
    assert any(name.startswith("synthesis.coarse.1.") for name in added)
    assert all(torch.equal(grown[f"weight.{name}"], grown[f"average.{name}"]) for name in added)
    assert trunk.main(["redraw", str(new), str(place / "drawn")]) == 0
    assert re.search(r"synthesis\.fine\.2 +48 of 48 units drawn anew", capsys.readouterr().out)

    minutes = str(counters(new)["seconds"] / 60 + 0.02)
    go_on = [*command(place, "--ranks", "1", "--minutes", minutes), "--init", str(new / "start")]
    go_on[go_on.index(str(out))] = str(new)
    assert trunk.main(go_on) == 0
    assert counters(new)["step"] > steps
    assert checkpoint.load(new / "start").network.config.analysis_blocks == (3, 2)
    assert trunk.main(["grow", str(out), str(new)]) == 2
    assert "new exists: give a new folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_wider_trunk_goes_on_with_the_moments_of_layers_that_stay(place: Path) -> None:
    assert trunk.main(command(place, "--ranks", "1", "--minutes", "0.02")) == 0
    out, new = place / "out", place / "new"
    channels = checkpoint.load(place / "tiny").network.config.patch_channels + 8
    assert trunk.main(["grow", str(out), str(new), "--channels", str(channels)]) == 0
    old, larger = trunk_files.newest(out), trunk_files.newest(new)
    assert old is not None and larger is not None
    before, after = (load_file(folder / "moments-0.safetensors") for folder in (old, larger))
    forgotten = {name.partition(".")[2] for name in before.keys() - after.keys()}
    assert {"analysis.down.weight", "synthesis.fine.0.expand.weight"} <= forgotten
    assert not {"hyper_analysis.down1.weight", "analysis.down.bias"} & forgotten
    assert trunk.main(["redraw", str(new), str(place / "drawn")]) == 0
    go_on = [*command(place, "--ranks", "1", "--minutes", str(counters(new)["seconds"] / 60 + 0.02))]
    go_on[go_on.index(str(out))] = str(place / "drawn")
    assert trunk.main([*go_on, "--init", str(new / "start")]) == 0
    assert counters(place / "drawn")["step"] > counters(out)["step"]
    assert trunk.main(["grow", str(out), str(place / "narrow"), "--channels", "8"]) == 2


@pytest.mark.slow
def test_a_trunk_goes_on_with_its_closed_units_drawn_anew(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trunk.main(command(place, "--ranks", "1", "--minutes", "0.02")) == 0
    out, new = place / "out", place / "new"
    before, steps = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}, counters(out)["step"]
    assert trunk.main(["redraw", str(out), str(new)]) == 0
    assert "units drawn anew" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    go_on = command(place, "--ranks", "1", "--minutes", str(counters(new)["seconds"] / 60 + 0.02))
    go_on[go_on.index(str(out))] = str(new)
    assert trunk.main(go_on) == 0
    assert counters(new)["step"] > steps
    assert trunk.main(["redraw", str(out), str(new)]) == 2
    assert "new exists: give a new folder" in capsys.readouterr().err


def test_a_branch_whose_start_was_killed_is_started_again(place: Path) -> None:
    assert trunk.main(command(place, "--ranks", "1", "--minutes", "0.02")) == 0
    out, new = place / "out", place / "new"
    arguments = ["branch", str(out), str(new), "--minutes", "0.02"]
    state = trunk_files.newest(out)
    assert state is not None
    shutil.copytree(state, new / state.name)  # as if killed before the settings were written
    (new / "copy.partial").mkdir()
    (new / "copy.partial/moments-9.safetensors").write_bytes(b"of another number of ranks")
    assert trunk.main(arguments) == 0
    assert counters(new)["step"] > counters(out)["step"]
    assert not list(new.rglob("moments-9*"))


def test_a_trunk_is_no_branch(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "out").mkdir()
    (place / "out" / trunk_files.SETTINGS).write_text(json.dumps({"decay_from": None}))
    assert trunk.main(["branch", str(place / "other"), str(place / "out"), "--minutes", "1"]) == 2
    assert "is a trunk, not a branch" in capsys.readouterr().err


def test_a_run_waits_for_all_ranks_of_a_killed_one(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trunk_files, "TAKEOVER_SECONDS", 0.1)
    (place / "out").mkdir()
    with trunk_files.hold(place / "out/lock-1"):
        assert trunk.main(command(place, "--ranks", "1", "--minutes", "0.01")) == 2
    assert "is being trained by another run" in capsys.readouterr().err


def test_what_starts_from_a_state_needs_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trunk.main(["export", str(place / "nothing"), str(place / "file")]) == 2
    assert trunk.main(["branch", str(place / "nothing"), str(place / "new"), "--minutes", "1"]) == 2
    assert trunk.main(["grow", str(place / "nothing"), str(place / "new")]) == 2
    assert trunk.main(["redraw", str(place / "nothing"), str(place / "new")]) == 2
    assert capsys.readouterr().err.count("holds no state") == 4


@pytest.mark.slow
def test_the_profile_prints_the_same_losses_for_the_same_code(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["profile", str(place / "recipe.yaml"), str(place / "images"), "--init", str(place / "tiny")]
    arguments += ["--batch", "4", "--crop", "64", "--ranks", "1", "--steps", "2", "--operators", "3"]
    printed = []
    for _ in range(2):
        assert trunk.main(arguments) == 0
        printed.append(capsys.readouterr().out)
    losses = [next(line for line in text.splitlines() if line.startswith("losses")) for text in printed]
    assert losses[0] == losses[1]
    assert len(losses[0].split()) == 1 + trunk_profile.WARM_UP_STEPS + 2
    assert "ms per step of this process" in printed[0]
    assert "aten::" in printed[0]
