"""A job that gives way ends: with one line, status 2, and no Ray left or started."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import main
from jobs.framework.job import GAVE_WAY, MISTAKE
from pipeline.archive.archive import Archive
from pipeline.runs.alone import source_name
from pipeline.runs.heartbeat import Heartbeat
from pipeline.runs.lease import Lease
from pipeline.storage.open import open_store
from tests.conftest import photo_like
from tests.pipeline.making import add, original

WAIT = 240.0


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for n in range(3):
        Image.fromarray(photo_like(70, 100, seed=n)).save(folder / f"{n}.png")
    return folder


@pytest.mark.parametrize("job", ["encode", "sync"])
def test_a_job_gives_way_to_another_one_before_ray_starts(
    job: str, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ray(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("ray.init", no_ray)
    root = open_store(str(tmp_path / "archive"))
    (tmp_path / "nightly.yaml").write_text(json.dumps({"source": f"file://{photos}/", "archive": root.url}))
    words = [str(tmp_path / "nightly.yaml")] if job == "sync" else [str(photos), root.url]
    with Heartbeat(root, "the-first", "encode", source_name(open_store(str(photos)))):
        assert main([job, *words]) == {"encode": MISTAKE, "sync": GAVE_WAY}[job]
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.startswith("maepress: encode the-first on ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("job", ["compact", "restore"])
def test_a_job_that_waits_for_no_lease_is_no_mistake_of_its_settings(
    job: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = Archive.create(str(tmp_path))
    add(archive, [original("a")])
    words = ["1"] if job == "restore" else []
    with Lease(archive.root, "night", "sync"):
        assert main([job, archive.url, *words]) == GAVE_WAY
    assert capfd.readouterr().err.startswith("maepress: sync night on ")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_encode_whose_keys_another_job_added_ends_within_seconds(
    photos: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    archive = tmp_path / "archive"
    words = ["encode", str(photos), str(archive), "--model", str(tiny_model_folder), "--actors", "1:1"]
    command = [sys.executable, "-m", "maepress", *words]
    errors: list[str] = []
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as encode:
        assert encode.stderr is not None
        reader = threading.Thread(target=lambda: errors.extend(encode.stderr or ()), daemon=True)
        reader.start()
        try:
            wait_for(lambda: any("stage=plan" in error for error in errors) or encode.poll() is not None)
            add(Archive.open(str(archive)), [original("1.png")], run="another")
            wait_for(lambda: any("another job added" in error for error in errors) or encode.poll() is not None)
            begun = time.monotonic()
            assert encode.wait(90) == 2, "".join(errors)
        finally:
            encode.kill()
    reader.join(60)
    assert time.monotonic() - begun < 90
    said = [error for error in errors if error.startswith("maepress: ")]
    assert len(said) == 1 and "another job added '1.png'" in said[0]
    assert not any("worker.py" in error for error in errors), errors
    assert errors[0] == "starting Ray ...\n"
    assert Archive.open(str(archive)).row("1.png") is not None


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


SCRIPT = """
import threading, time
import jobs.framework.ray_session
import ray
from pipeline.execution.actor_polling import polling

asked = []
class Method:
    def remote(self):
        asked.append(1)
        return ray.put("a word")

with polling(Method(), print, every=0.01):
    time.sleep(0.5)
    print(sum(thread.name == "maepress-polling" for thread in threading.enumerate()), len(asked))
try:
    ray.put("from any thread")
except Exception:
    print("refused")
print(ray.is_initialized())
"""


@pytest.mark.timeout(300)
def test_no_thread_starts_ray_or_joins_a_cluster_of_others() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout == "0 0\nrefused\nFalse\n", done.stderr
