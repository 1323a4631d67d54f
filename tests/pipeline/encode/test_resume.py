"""An encode whose driver or encoder is killed half-way continues, and repeats no finished work."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.archive.archive import Archive
from pipeline.encode import dataflow
from pipeline.encode.run import EncodeResult, EncodeSettings, encode
from pipeline.planning.units import UNIT_ROWS
from tests.pipeline.sources import large_pngs
from tests.waiting import wait_for

IMAGES = 48
DRIVER = """
import sys
from pipeline.encode.run import EncodeSettings, encode
source, archive, model, executor = sys.argv[1:]
if executor == "ray":
    import ray
    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
settings = dict(source=source, archive=archive, model=model, executor=executor, shard_mib=1, commit_seconds=0)
encode(EncodeSettings(**settings), quiet=True)
"""


def facts(archive: Path) -> dict[str, tuple[object, ...]]:
    """Run and time of every row, by key; a duplicate key fails the test."""
    found = [
        row for batch in Archive.open(str(archive)).scan(["key", "run", "encoded_at"]) for row in batch.to_pylist()
    ]
    assert len({row["key"] for row in found}) == len(found)
    return {row["key"]: (row["run"], row["encoded_at"]) for row in found}


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_driver_killed_half_way_continues_without_compressing_anything_twice(
    tmp_path: Path, tiny_model_folder: Path, executor: str
) -> None:
    source, archive = tmp_path / "source", tmp_path / "archive"
    keys = large_pngs(source, IMAGES)
    log = archive / "images" / "_delta_log"
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(source), str(archive), str(tiny_model_folder), executor],
        start_new_session=True,
    ) as driver:
        wait_for(lambda: driver.poll() is not None or (log.is_dir() and len(list(log.glob("*.json"))) > 3))
        driver.send_signal(signal.SIGKILL)
    committed = facts(archive)
    assert 0 < len(committed) < IMAGES, "it was not killed half-way"

    settings = EncodeSettings(source=str(source), archive=str(archive), model=str(tiny_model_folder), executor="local")
    result = encode(settings, quiet=True)
    after = facts(archive)
    assert sorted(after) == keys
    assert {key: after[key] for key in committed} == committed
    assert result.latents + result.originals == IMAGES - len(committed)
    assert {after[key][0] for key in after.keys() - committed.keys()} == {result.run}


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_an_encode_whose_encoder_is_killed_ends_well_by_itself(
    tmp_path: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, archive, victim = tmp_path / "source", tmp_path / "archive", tmp_path / "victim"
    keys = large_pngs(source, IMAGES)

    class StopsOnce(dataflow._Encoder):
        """Does three units of work; the first encoder that gets so far waits there to be killed."""

        pieces = 0

        def __call__(self, table: pa.Table) -> pa.Table:
            self.pieces += 1
            if self.pieces > 3 * UNIT_ROWS:
                with suppress(FileExistsError):
                    os.symlink(str(os.getpid()), victim)
                    time.sleep(600)
            return super().__call__(table)

    monkeypatch.setattr(dataflow, "_Encoder", StopsOnce)
    settings = EncodeSettings(
        source=str(source),
        archive=str(archive),
        model=str(tiny_model_folder),
        executor="ray",
        actors="1:1",
        shard_mib=1,
        commit_seconds=0,
    )
    results: list[EncodeResult] = []
    job = threading.Thread(target=lambda: results.append(encode(settings, quiet=True)), daemon=True)
    job.start()
    log = archive / "images" / "_delta_log"
    wait_for(lambda: victim.is_symlink() and len(list(log.glob("*.json"))) > 2)
    assert 0 < len(facts(archive)) < IMAGES
    os.kill(int(os.readlink(victim)), signal.SIGKILL)
    job.join(120)
    assert not job.is_alive()
    assert sorted(facts(archive)) == keys
    assert results[0].latents + results[0].originals == IMAGES
    assert results[0].rejected == 0
