"""Training with real Ray Train and real DDP, on a model small enough for seconds."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from PIL import Image
from ray.exceptions import RayTaskError
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.dataset.split import split
from pipeline.train.learner import learning_rate
from pipeline.train.run import TrainSettings, cause, train
from tests.conftest import photo_like

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i in range(24):
        Image.fromarray(photo_like(96, 128, seed=i)).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"not a jpeg")
    return folder


def settings(images: Path, out: Path, init: Path, **more: object) -> TrainSettings:
    values: dict[str, object] = {"images": str(images), "out": str(out), "init": str(init), "workers": 2, "batch": 4}
    return TrainSettings(**(values | {"crop": 64, "validation_share": 0.2, "learning_rate": 2e-3} | more))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_learn_survive_a_kill_and_leave_a_model_that_codes(
    images: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    out = tmp_path / "m"
    killed: list[int] = []
    lines: list[str] = []

    def kill_a_worker_once_there_is_a_checkpoint() -> None:
        history = out / "validation.jsonl"
        while not history.exists() or len(history.read_text().splitlines()) < 2:
            time.sleep(0.1)
        # The cluster is a child of this process, so that nobody else's workers are met here.
        while not killed:
            for process in reversed(psutil.Process().children(recursive=True)):
                with suppress(psutil.Error):  # some other child that has ended
                    if not killed and "RayTrainWorker" in " ".join(process.cmdline()):
                        process.kill()
                        killed.append(process.pid)

    threading.Thread(target=kill_a_worker_once_there_is_a_checkpoint, daemon=True).start()
    result = train(settings(images, out, tiny_model_folder, max_steps=160, validate_minutes=0.01), lines.append)
    assert killed, "the run ended before a worker could be killed"
    assert result.steps == 160
    steps = [row["step"] for row in result.validation]
    assert steps == sorted(set(steps)), "history goes on from the checkpoint, without a row twice"
    assert result.validation[-1]["loss"] < 0.9 * result.validation[0]["loss"]
    assert {f"{what}/{q}" for what in ("bpp", "psnr") for q in (7, 20, 32, 44, 57)} <= result.validation[0].keys()
    assert any("validation loss" in line and "the best so far" in line for line in lines)
    assert list((out / "logs").glob("events*"))
    assert Codec.load(out).fingerprint == result.fingerprint

    # The same command with a later end goes on from the checkpoint.
    longer = train(settings(images, out, tiny_model_folder, max_steps=170))
    assert longer.steps == 170
    assert longer.validation[: len(result.validation)] == result.validation


def test_mistakes_are_one_clear_line(images: Path, tmp_path: Path, tiny_model_folder: Path) -> None:
    def attempt(**more: object) -> str:
        with pytest.raises(MaepressError) as error:
            train(settings(images, tmp_path / "m", tiny_model_folder, max_steps=1).model_copy(update=more))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert "swap" in attempt(min_scale=0.9, max_scale=0.5)
    assert "--crop 192" in attempt(distortion="ms-ssim")
    assert "--batch 4" in attempt(batch=5)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a.png").write_bytes((images / "0.png").read_bytes())
    assert "at least two" in attempt(images=str(tmp_path / "one"))
    assert "is no model" in attempt(init=str(tmp_path / "nothing"))


@pytest.mark.slow
def test_a_failed_run_names_the_mistake_that_a_worker_met(
    images: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    run = settings(images, tmp_path / "m", tiny_model_folder, crop=192, max_steps=1, max_failures=0)
    with pytest.raises(MaepressError) as error:
        train(run)
    assert str(error.value) == (
        "training failed (no image to train on is readable and at least 192 pixels wide and high: lower --crop): "
        "the same command resumes from the last checkpoint"
    )


def test_the_cause_of_a_failed_run_is_a_users_mistake_before_the_errors_that_it_led_to() -> None:
    lost, mistake = RuntimeError("Connection closed by peer\nframe #0"), MaepressError("lower --crop")
    assert cause(WorkerGroupError("text", {0: lost, 1: mistake})) == "lower --crop"
    assert cause(WorkerGroupError("text", {1: KeyError("x"), 0: lost})) == "RuntimeError: Connection closed by peer"
    assert cause(ControllerError(MemoryError())) == "MemoryError"
    assert cause(ControllerError(RayTaskError("f", "Traceback ...", mistake))) == "lower --crop"


def test_split_holds_out_at_least_one_image_and_keeps_at_least_one() -> None:
    for count in (2, 3, 10, 200):
        keys = [f"{i}.jpg" for i in range(count)]
        for share in (0.001, 0.3, 0.999):
            kept, held_out = split(keys, share)
            assert kept and held_out and sorted(kept + held_out) == sorted(keys)


def test_the_learning_rate_warms_up_stays_and_falls() -> None:
    assert learning_rate(1.0, 0.5, 0, 0.0) == pytest.approx(1 / 30)
    assert learning_rate(1.0, 0.5, 200, 0.4) == pytest.approx(1.0)
    assert learning_rate(1.0, 0.5, 900, 0.75) == pytest.approx(0.51)
    assert learning_rate(1.0, 0.5, 999, 1.0) == pytest.approx(0.02)
