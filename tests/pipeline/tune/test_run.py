"""Tuning: trials have the requested settings, the worse ones end early, and train accepts the best settings."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from model.core.errors import MaepressError
from model.core.model_files import DISTORTION
from pipeline.train.run import TrainSettings, train
from pipeline.tune.run import BEST, LOGS, TABLE, TuneSettings, checked_output, tune_training
from tests.pipeline.sources import encoded, photo, put_all


def test_what_is_no_list_and_no_range_is_refused() -> None:
    for name, text in {"batch": "8;16", "crop": "100", "learning_rate": "3e-3:3e-4", "width": "x"}.items():
        with pytest.raises(ValidationError, match="such as"):
            TuneSettings(images="i", out="o", **{name: text})  # type: ignore[arg-type]


def test_what_every_trial_would_refuse_is_refused_before_the_first() -> None:
    wrong = {"learning_rate": "1e-5:inf", "width": "8,64", "seed": -5, "minutes": float("inf")}
    for name, value in wrong.items():
        with pytest.raises(ValidationError, match=name):
            TuneSettings.model_validate({"images": "i", "out": "o", name: value})
    for seed in (-5, 1 << 64):
        with pytest.raises(ValidationError, match="seed"):
            TrainSettings(images="i", out="o", seed=seed)


def test_what_training_would_refuse_is_refused_before_the_first_trial(tmp_path: Path, tiny_model_folder: Path) -> None:
    shutil.copytree(tiny_model_folder, tmp_path / "similar")
    config = tmp_path / "similar" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"notes": {DISTORTION: "ms-ssim"}}))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"init": str(tiny_model_folder), "width": "64,96"}, "--width needs --init scratch"),
        ({"init": "scratch", "min_scale": 0.9, "max_scale": 0.5}, "--min-scale 0.9 is above --max-scale 0.5"),
        ({"init": str(tmp_path / "similar"), "crop": "192,128"}, "give --crop 192"),
        ({"init": str(tmp_path / "none")}, "is no model"),
    ]
    for settings, line in refused:
        with pytest.raises(MaepressError, match=line):
            checked_output(TuneSettings(images=str(tmp_path / "i"), out=str(tmp_path / "o"), **settings))


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.usefixtures("local_ray")
def test_the_best_of_some_trials_is_found_and_trains(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    put_all(str(tmp_path / "images"), {f"{i}.png": encoded(photo(i, 96, 100), "PNG") for i in range(12)})
    lines: list[str] = []
    result = tune_training(
        TuneSettings(
            images=str(tmp_path / "images"),
            out=str(tmp_path / "out"),
            init=str(tiny_model_folder),
            exclude=("drafts/",),
            trials=8,  # enough that not each is better than those before it, of which none would end early
            minutes=0.15,
            learning_rate="0.00001:0.01",
            batch="2,4",
            crop="64",
            log="wandb",
        ),
        lines.append,
    )
    assert len(result.trials) == 8 and not result.trials[0].ended_early
    assert any(trial.ended_early for trial in result.trials), "one in three goes on after a look"
    ended = [trial for trial in result.trials if not trial.ended_early]
    assert [t.loss for t in ended] == sorted(t.loss for t in ended)
    assert all(t.drawn["batch"] in (2, 4) and 1e-5 <= t.drawn["learning_rate"] <= 1e-2 for t in result.trials)
    with (tmp_path / "out" / TABLE).open() as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [t.loss for t in result.trials]
    assert any(line.startswith("trial ") and "learning_rate" in line for line in lines)
    assert list((tmp_path / "out" / LOGS).rglob("events.out.tfevents.*")), "TensorBoard's curves"

    best = yaml.safe_load((tmp_path / "out" / BEST).read_text())
    assert best["learning_rate"] == result.trials[0].drawn["learning_rate"]
    assert best["exclude"] == ["drafts/"]
    trained = train(TrainSettings(**best, out=str(tmp_path / "model"), workers=1, max_steps=2))
    assert trained.steps == 2


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("local_ray")
def test_places_may_be_relative_and_what_fails_each_trial_is_said_in_one_line(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_model_folder, tmp_path / "start")
    put_all("images", {f"{i}.png": encoded(photo(i, 96, 100), "PNG") for i in range(6)})
    settings = TuneSettings(
        images="images", out="tuned", init="start", trials=1, minutes=0.02, batch="2", crop="64",
        learning_rate="0.0001:0.0002",
    )  # fmt: skip
    result = tune_training(settings, lambda line: None)
    assert len(result.trials) == 1 and (tmp_path / "tuned" / TABLE).is_file()
    assert yaml.safe_load((tmp_path / "tuned" / BEST).read_text())["images"] == "images"

    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"no image")
    assert capfd.readouterr().out == "", "Ray has a banner for standard output"
    with pytest.raises(MaepressError, match=r"no trial completed \(.*\): see tuned/trials") as failed:
        tune_training(settings, lambda line: None)
    assert "\n" not in str(failed.value)
    assert "Traceback" not in capfd.readouterr().err


def test_widths_of_a_trained_model_are_its_own() -> None:
    with pytest.raises(MaepressError, match="--width needs --init scratch"):
        train(TrainSettings(images=".", out="o", width=64))
