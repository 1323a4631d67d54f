"""Encode, with a real Ray and in this process: one row per key, payloads that match their rows, no work done twice."""

import hashlib
import math
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from model.codec import Codec
from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.archive.schema import IMAGES, UNLIKE
from pipeline.encode.run import EncodeResult, EncodeSettings, encode
from pipeline.execution.executors import Executor
from pipeline.execution.resources import plan_resources
from pipeline.images.formats.jpeg_xl import to_jpeg
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.hostile import scan_bomb
from tests.pipeline.making import image_file
from tests.pipeline.sources import BROKEN, KEPT, TRANSCODED, encoded, mixed, photo, put_all

pytestmark = pytest.mark.usefixtures("local_ray")
FILES = mixed()


def run_encode(
    source: object, archive: object, model: Path, executor: Executor = "local", **settings: Any
) -> EncodeResult:
    chosen = {"unreadable": "reject"} | settings
    chosen |= {"source": str(source), "archive": str(archive), "model": str(model), "executor": executor}
    return encode(EncodeSettings(**chosen), quiet=True)


def rows(archive: object) -> dict[str, dict[str, Any]]:
    found = [row for batch in Archive.open(str(archive)).scan(IMAGES.names) for row in batch.to_pylist()]
    assert len({row["key"] for row in found}) == len(found), "a key is there twice"
    return {row["key"]: row for row in found}


def rejections(archive: object) -> dict[str, str]:
    return {row.key: row.reason for row in Archive.open(str(archive)).rejections_by_key()}


@pytest.fixture(scope="module")
def archived(
    local_ray: None, tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path
) -> tuple[Path, Path, EncodeResult]:
    """A source of mixed files, its archive, and the result of the encode."""
    folder = tmp_path_factory.mktemp("archived")
    source, archive = folder / "source", folder / "archive"
    put_all(str(source), FILES)
    return source, archive, run_encode(source, archive, tiny_model_folder, "ray", quality=30)


@pytest.fixture
def copied(archived: tuple[Path, Path, EncodeResult], tmp_path: Path) -> tuple[Path, Path]:
    """A source and its archive that a test may change."""
    source, archive = (shutil.copytree(folder, tmp_path / folder.name) for folder in archived[:2])
    return source, archive


def test_every_key_ends_as_one_row_or_one_rejection(archived: tuple[Path, Path, EncodeResult]) -> None:
    _, archive, result = archived
    assert rows(archive).keys() == FILES.keys() - set(BROKEN)
    assert rejections(archive).keys() == set(BROKEN)
    assert result.latents + result.transcoded + result.originals == len(FILES) - len(BROKEN)
    assert sum(result.kept.values()) == result.transcoded + result.originals
    assert result.kept["mode CMYK"] == result.kept["more than 8 bits a channel"] == 1
    assert result.rejected == len(BROKEN)
    assert {key for key, row in rows(archive).items() if row["status"] == "original"} >= set(KEPT)
    assert result.latents > 40


def test_a_row_says_what_was_read_and_by_what_it_was_compressed(
    archived: tuple[Path, Path, EncodeResult], tiny_codec: Codec
) -> None:
    source, archive, result = archived
    for key, row in rows(archive).items():
        state = (source / key).stat()
        assert row["source_sha256"] == hashlib.sha256(FILES[key]).hexdigest()
        assert row["etag"] == f"{state.st_size}-{state.st_mtime_ns}"
        assert row["source_bytes"] == len(FILES[key])
        assert row["payload_bytes"] == len(row["payload"])
        assert row["run"] == result.run
        assert datetime.now(UTC) - row["encoded_at"] < timedelta(minutes=10)
        if row["status"] == "latent":
            assert (row["model"], row["quality"], row["kept"]) == (tiny_codec.fingerprint, 30, None)
            assert row["target"] == "quality 30"
        else:
            assert (row["model"], row["quality"], row["psnr"]) == (None, None, None)
            assert row["kept"]
            assert row["target"] == (None if key in KEPT else "quality 30")
    assert result.source_bytes == sum(len(FILES[key]) for key in rows(archive))


def test_originals_are_kept_byte_for_byte(archived: tuple[Path, Path, EncodeResult]) -> None:
    _, archive, _ = archived
    assert {row["status"] for row in rows(archive).values()} == {"original", "jxl", "latent"}
    for key, row in rows(archive).items():
        if row["status"] == "original":
            assert row["payload"] == FILES[key]
        elif row["status"] == "jxl":
            assert row["payload_bytes"] < row["source_bytes"]
            assert to_jpeg(row["payload"]) == FILES[key]
        else:
            beside = sum(len(row[name] or b"") for name in ("icc", "exif", "xmp"))
            assert row["payload_bytes"] + beside < row["source_bytes"]


def test_a_jpeg_that_cannot_be_beaten_becomes_jpeg_xl(archived: tuple[Path, Path, EncodeResult]) -> None:
    _, archive, result = archived
    row = rows(archive)[TRANSCODED]
    assert (row["status"], row["kept"], row["source_format"]) == ("jxl", UNLIKE, "jpeg")
    assert result.transcoded >= 1


def test_latents_decode_to_the_psnr_that_the_row_says(
    archived: tuple[Path, Path, EncodeResult], tiny_codec: Codec
) -> None:
    source, archive, _ = archived
    latents = [row for row in rows(archive).values() if row["status"] == "latent" and row["source_format"] == "png"]
    assert len(latents) > 10
    for row, picture in zip(latents, tiny_codec.decompress([row["payload"] for row in latents]), strict=True):
        image = Image.open(source / row["key"])
        truth = np.asarray(image.convert("RGB") if image.mode == "P" else image)
        truth = truth.reshape(*truth.shape[:2], -1)[:, :, : picture.pixels.shape[2]]
        error = np.mean((truth.astype(float) - picture.pixels) ** 2)
        assert 10 * math.log10(255**2 / error) == pytest.approx(row["psnr"], abs=0.05)


def test_metadata_stands_in_columns_and_not_in_payloads(
    archived: tuple[Path, Path, EncodeResult], tiny_codec: Codec
) -> None:
    _, archive, _ = archived
    row = rows(archive)["meta/rotated.jpg"]
    assert (row["icc"], row["xmp"]) == (b"profile" * 20, b"<x/>")
    assert b"Exif" in row["exif"]
    (picture,) = tiny_codec.decompress([row["payload"]])
    assert (picture.icc, picture.exif, picture.xmp) == (b"", b"", b"")
    assert rows(archive)["palette.png"]["icc"] is None


def test_the_archive_holds_the_model_and_no_plan(archived: tuple[Path, Path, EncodeResult], tiny_codec: Codec) -> None:
    _, archive, _ = archived
    assert Archive.open(str(archive)).models() == [tiny_codec.fingerprint]
    assert not [path for path in (archive / "plans").rglob("*") if path.is_file()]


def test_running_again_does_nothing(archived: tuple[Path, Path, EncodeResult], tiny_model_folder: Path) -> None:
    source, archive, _ = archived
    version = Archive.open(str(archive)).version()
    again = run_encode(source, archive, tiny_model_folder, quality=30)
    assert (again.latents, again.originals, again.rejected) == (0, 0, 0)
    assert (again.unchanged, again.rejected_before) == (len(FILES) - len(BROKEN), len(BROKEN))
    assert Archive.open(str(archive)).version() == version


def test_what_changed_is_replaced_and_nothing_else_is_touched(
    copied: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    source, archive = copied
    before, shards = rows(archive), {shard.path for shard in Archive.open(str(archive)).shards()}
    changed, corrupted, mended, gone = "photos/1/01.jpg", "photos/2/02.jpg", "broken/cut.jpg", "grey/0.png"
    fresh = {
        changed: encoded(photo(77), "PNG"),
        corrupted: b"no longer an image",
        mended: FILES["photos/0/00.jpg"],
        "photos/new.jpg": encoded(photo(78), "JPEG", quality=95),
        "a-first.jpg": encoded(photo(79), "JPEG", quality=95),
    }
    put_all(str(source), fresh)
    (source / gone).unlink()
    result = run_encode(source, archive, tiny_model_folder)
    after = rows(archive)

    assert (result.latents + result.transcoded + result.originals, result.rejected) == (4, 1)
    assert (result.gone, result.rejected_before, result.unchanged) == (1, 1, len(before) - 3)
    assert after.keys() == before.keys() | {mended, "photos/new.jpg", "a-first.jpg"}
    assert after[changed]["source_sha256"] == hashlib.sha256(fresh[changed]).hexdigest()
    assert after[changed]["run"] == result.run
    for key in before.keys() - {changed}:  # also the corrupted key's last good version, and the one that is gone
        assert after[key] == before[key]
    assert rejections(archive)[corrupted]
    remaining = {shard.path for shard in Archive.open(str(archive)).shards()}
    assert len(shards - remaining) == 1
    assert len(remaining - shards) == 2
    assert run_encode(source, archive, tiny_model_folder).rejected_before == 2


def test_another_quality_and_a_retry_happen_only_when_asked_for(
    copied: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    source, archive = copied
    assert run_encode(source, archive, tiny_model_folder, quality=5).unchanged == len(FILES) - len(BROKEN)
    before = rows(archive)
    result = run_encode(source, archive, tiny_model_folder, quality=5, repress=True, retry_rejected=True)
    after = rows(archive)
    compressed_before = {key for key, row in before.items() if row["target"] is not None}
    assert compressed_before >= {key for key, row in before.items() if row["status"] == "latent"} | {TRANSCODED}
    assert result.latents + result.transcoded + result.originals == len(compressed_before)
    assert (result.rejected, result.rejected_before) == (len(BROKEN), 0)
    assert after.keys() == before.keys()
    for key in before:
        assert (after[key] == before[key]) == (key not in compressed_before)
    assert {after[key]["quality"] for key in compressed_before} <= {5, None}


def test_a_file_that_decodes_for_minutes_is_rejected_and_its_neighbours_are_compressed(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    files = {f"{i}.png": encoded(photo(i), "PNG") for i in range(6)}
    put_all(str(tmp_path / "source"), files | {"3-bomb.jpg": scan_bomb()})
    result = run_encode(tmp_path / "source", tmp_path / "archive", tiny_model_folder, read_seconds=3)
    assert rows(tmp_path / "archive").keys() == files.keys()
    assert rejections(tmp_path / "archive") == {"3-bomb.jpg": "cannot be decoded: it took longer than 3 s"}
    assert result.rejected == 1


def test_this_process_makes_the_same_rows_as_ray(
    archived: tuple[Path, Path, EncodeResult], tiny_model_folder: Path, tmp_path: Path
) -> None:
    source, archive, on_ray = archived
    here = run_encode(source, tmp_path / "archive", tiny_model_folder, "local", quality=30)
    of_the_run = ("run", "encoded_at", "row_sha256")

    def facts(where: object) -> dict[str, dict[str, Any]]:
        return {key: {k: v for k, v in row.items() if k not in of_the_run} for key, row in rows(where).items()}

    assert facts(tmp_path / "archive") == facts(archive)
    assert rejections(tmp_path / "archive") == rejections(archive)
    assert (here.latents, here.kept, here.pixels) == (on_ray.latents, on_ray.kept, on_ray.pixels)


@pytest.mark.slow
def test_the_same_holds_on_an_object_store(bucket: str, tiny_model_folder: Path) -> None:
    source, archive = f"{bucket}/source", f"{bucket}/archive"
    files = {key: FILES[key] for key in sorted(FILES)[::3]}
    put_all(source, files)
    result = run_encode(source, archive, tiny_model_folder, "ray")
    found = rows(archive)
    assert found.keys() == files.keys() - set(BROKEN)
    assert rejections(archive).keys() == files.keys() & set(BROKEN)
    assert {row["run"] for row in found.values()} == {result.run}
    again = run_encode(source, archive, tiny_model_folder)
    assert (again.latents, again.unchanged) == (0, len(found))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quality": 99}, "less than 64"),
        ({"quality": 40, "min_psnr": 38}, "--quality and --min-psnr exclude each other"),
        ({"min_ms_ssim": 1.5}, "less than 1"),
        ({"min_ssimulacra2": 100}, "less than 100"),
        ({"min_ssimulacra2": 80, "max_bpp": 1}, "--min-ssimulacra2 and --max-bpp exclude each other"),
        ({"actors": "5:2"}, "not MIN:MAX"),
        ({"actors": "0:2"}, "not MIN:MAX"),
        ({"actors": "many"}, "not MIN:MAX"),
        ({"speed": 3}, "Extra inputs"),
    ],
)
def test_nonsense_settings_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EncodeSettings(**{"source": "/pictures", "archive": "/archive"} | changes)


def test_a_source_that_is_missing_or_empty_is_refused_before_anything_is_made(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for source, message in (("nowhere", "nowhere"), ("empty", "is empty")):
        with pytest.raises(MaepressError, match=message):
            run_encode(tmp_path / source, tmp_path / "archive", tiny_model_folder)
    with pytest.raises(MaepressError, match="no model"):
        run_encode(os.path.dirname(__file__), tmp_path / "archive", tmp_path)
    assert not (tmp_path / "archive").exists()


def test_encoders_and_tasks_always_fit_side_by_side() -> None:
    for cpus in (1, 2, 3, 16):
        for actors in (None, (1, 1), (1, 8), (4, 4)):
            workers = plan_resources({"CPU": cpus}, actors, None)
            assert workers.start * workers.encoder_cpus + max(workers.task_cpus, workers.writer_cpus) <= cpus
            assert workers.task_cpus != workers.writer_cpus  # equal claims would join coding and writing into one task
            assert workers.start * workers.threads <= max(cpus, workers.start)
            assert workers.least <= workers.start <= workers.most


def test_encoders_take_gpus_where_there_are_some() -> None:
    assert (
        plan_resources({"CPU": 16, "GPU": 4}, None, None).most,
        plan_resources({"CPU": 16, "GPU": 4}, None, 0.5).most,
    ) == (4, 8)
    assert plan_resources({"CPU": 16, "GPU": 4}, None, 0).gpus == 0
    with pytest.raises(MaepressError, match="--gpus-per-actor 0"):
        plan_resources({"CPU": 16}, None, 1)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_an_encode_continues_after_another_tool_has_rewritten_the_table(
    copied: tuple[Path, Path], tiny_model_folder: Path
) -> None:
    """`optimize` leaves a shard that is not in key order; one changed image once made the writer spin for ever."""
    source, archive = copied
    key = next(key for key, row in rows(archive).items() if row["status"] == "latent")
    before = rows(archive)
    Archive.open(str(archive)).table().optimize.compact()
    Archive.open(str(archive)).table().update(predicate=f"key = '{key}'", updates={"psnr": "12.5"})
    (source / key).write_bytes(image_file("PNG", seed=77))
    result = run_encode(source, archive, tiny_model_folder, quality=30)
    assert result.latents + result.originals + result.transcoded == 1
    after = rows(archive)
    assert after.pop(key)["source_sha256"] == hashlib.sha256((source / key).read_bytes()).hexdigest()
    assert after == {other: row for other, row in before.items() if other != key}
    assert verify(VerifySettings(archive=str(archive)), quiet=True).ok
