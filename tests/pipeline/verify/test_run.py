"""Verify passes an intact archive and names every damaged row."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from model.codec import Codec
from model.core.picture import Picture
from model.metrics.psnr import psnr
from model.metrics.ssimulacra2 import ssimulacra2
from pipeline.archive.archive import Archive
from pipeline.archive.receipt import Rejection
from pipeline.archive.schema import OUTAGE
from pipeline.archive.shards.row_hash import table_of
from pipeline.images.image_reader import read
from pipeline.images.reading import Reading
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.open import StorageError, open_store
from pipeline.verify.row_checks import problem_with, problem_with_fidelity, problem_with_picture
from pipeline.verify.run import VerifyResult, VerifySettings, verify
from pipeline.verify.shard_checks import ROW_CHANGED
from pipeline.verify.source_comparison import NAMED
from tests.pipeline.making import add, compressed, image_file, original, transcoded

JPEG = image_file("JPEG", quality=90, size=(120, 80))


def damaged(payload: bytes) -> bytes:
    half = len(payload) // 2
    return payload[:half] + bytes([payload[half] ^ 1]) + payload[half + 1 :]


def test_a_sound_archive_passes_and_is_compared_with_its_source(
    bucket: str, tiny_model_folder: Path, tiny_codec: Codec, local_ray: None
) -> None:
    source = open_store(f"{bucket}/source")
    files = {f"{i}.png": image_file("PNG", "RGBA" if i % 3 == 2 else "L" if i % 3 else "RGB", seed=i) for i in range(9)}
    for key, data in files.items():
        source.put(key, data)
    etags = {entry.key: entry.etag for entry in source.entries()}
    archive = Archive.create(f"{bucket}/archive")
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    made = [compressed(tiny_codec, key, data, etag=etags[key]) for key, data in files.items()]
    add(archive, made[:4])
    add(archive, [*made[4:], original("note.txt"), transcoded("same.jpg", JPEG)], run="second")
    source.put("8.png", files["7.png"])  # changed since it was compressed: it cannot be compared
    result = verify(VerifySettings(executor="ray", archive=archive.url, sample="all", source=source.url), quiet=True)
    assert result.problems == () and (result.source_objects, result.absent) == (9, 0)
    assert not result.ok and (result.outdated, result.outdated_keys) == (1, ("8.png",))
    assert (result.rows, result.latents, result.transcoded, result.originals) == (11, 9, 1, 1)
    assert (result.decoded, result.compared, result.changed) == (9, 8, 1)
    made.append(transcoded("same.jpg", JPEG))
    assert result.payload_bytes == sum(row["payload_bytes"] for row in made) + len(b"source")


def test_every_kind_of_damage_is_named_with_its_key(tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    archive.root.put("models/feedfeedfeedfeed/config.json", b"{}")
    good = compressed(tiny_codec, "good", image_file("PNG"))
    wrong_model = good["payload"].replace(bytes.fromhex(tiny_codec.fingerprint), bytes.fromhex("feedfeedfeedfeed"))
    bad: dict[str, dict[str, Any]] = {
        "flipped-bit": {"payload": damaged(good["payload"])},
        "wrong-row-model": {"model": "0" * 16},
        "wrong-quality": {"quality": 3},
        "wrong-width": {"width": 71},
        "cut-short": {"payload": good["payload"][:-3]},
        "no-payload": {"payload": b"", "payload_bytes": 0},
        "damaged-transcode": transcoded("k", JPEG) | {"payload": transcoded("k", JPEG)["payload"][:-9] + b"x" * 9},
        "another-jpeg": transcoded("k", JPEG) | {"source_sha256": "0" * 64},
        "half-a-model": {"payload": wrong_model, "model": "feedfeedfeedfeed"},
    }
    add(archive, [good, original("twice"), *(good | change | {"key": key} for key, change in bad.items())])
    add(archive, [original("bad-original") | {"payload": b"sourcE"}, original("good-too"), original("twice")], "two")
    lost = add(archive, [original("in-a-lost-shard")], run="three").add
    assert lost is not None
    archive.images.put(lost.path, b"no Parquet file any more")
    result = verify(VerifySettings(executor="local", archive=archive.url, sample="32"), quiet=True)
    problems = {problem.key: problem.problem for problem in result.problems}
    model = "model feedfeedfeedfeed"
    assert set(problems) == {*bad, "bad-original", "twice", f"shard {lost.path}", model}
    assert "model.safetensors cannot be read" in problems[model]
    assert not result.ok and result.failed == len(problems)
    assert "checksum" in problems["flipped-bit"] and "checksum" in problems["half-a-model"]
    assert "row says model" in problems["wrong-row-model"] and "row says quality 3" in problems["wrong-quality"]
    assert "size 71x50" in problems["wrong-width"] and "SHA-256" in problems["bad-original"]
    assert "no JPEG XL transcode" in problems["damaged-transcode"] and "SHA-256" in problems["another-jpeg"]
    assert problems["twice"] == "its key is in the archive more than once"
    assert (result.rows, result.decoded) == (14, 1)


def test_a_damaged_model_is_noticed_although_this_machine_has_a_sound_copy(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec, local_ray: None
) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    add(archive, [compressed(tiny_codec, "k", image_file("PNG"))])
    settings = VerifySettings(executor="local", archive=archive.url, sample="all")
    assert archive.get_model(tiny_codec.fingerprint).is_dir() and verify(settings, quiet=True).ok
    weights = tmp_path / "archive" / "models" / tiny_codec.fingerprint / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (problem,) = verify(settings, quiet=True).problems
    assert problem.key == f"model {tiny_codec.fingerprint}" and "SHA256SUMS" in problem.problem
    weights.with_name("SHA256SUMS").unlink()
    (problem,) = verify(settings, quiet=True).problems
    assert f"models/{tiny_codec.fingerprint}" in problem.problem and "is damaged" in problem.problem


def test_rows_that_are_missing_from_a_shard_and_changed_rows_are_named(tmp_path: Path, local_ray: None) -> None:
    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, [original(f"{i:02}") for i in range(30)])
    add(archive, [original(f"x{i}") for i in range(3)], run="second")
    first, second = archive.shards()
    path = tmp_path / "archive" / "images" / first.path
    pq.write_table(pq.read_table(path).slice(0, 27), path)
    archive.table().update(predicate="key = 'x1'", updates={"psnr": "40.0"})
    result = verify(VerifySettings(executor="local", archive=archive.url), quiet=True)
    problems = {problem.key: problem.problem for problem in result.problems}
    assert problems == {f"shard {first.path}": "it has 27 rows, the log says 30", "x1": ROW_CHANGED}
    assert result.rows == 30 and not result.ok and second.rows == 3


def test_the_sample_is_of_the_size_asked_for_and_the_same_each_time(tmp_path: Path, tiny_codec: Codec) -> None:
    from pipeline.verify.survey import survey

    archive = Archive.create(str(tmp_path / "archive"))
    good = compressed(tiny_codec, "good", image_file("PNG"))
    add(archive, [good | {"key": f"{i:03d}"} for i in range(50)] + [original(f"o{i}") for i in range(50)])
    add(archive, [good | {"key": f"x{i:03d}"} for i in range(50)], run="second")
    surveys = [survey(archive, archive.shards(), size, None) for size in ("10", "10", "20", "0", "1000", "all")]
    samples = [found.sample for found in surveys]
    assert samples[0] == samples[1] and samples[0] is not None and samples[2] is not None
    assert len(samples[0]) == 10 and samples[0] < samples[2] and len(samples[2]) == 20
    assert samples[3] == frozenset() and samples[5] is None
    assert samples[4] is not None and len(samples[4]) == 100  # originals need no decoding
    assert any(key.startswith("x") for key in samples[0]) and any(not key.startswith("x") for key in samples[0])


def test_objects_of_the_source_that_the_archive_lacks_are_counted_and_named(place: str) -> None:
    source = open_store(f"{place}/source")
    for key in ("a", "b", "c", "d", "e", "f", "z"):
        source.put(key, key.encode())
    etags = {entry.key: entry.etag for entry in source.entries()}
    archive = Archive.create(f"{place}/archive")
    rejections = [
        Rejection("b", etags["b"], "read", "no image"),
        Rejection("c", "an older version's", "read", "no image"),
        Rejection("d", etags["d"], OUTAGE, "the store did not answer"),
    ]
    rows = [original("a", b"a", etag=etags["a"]), original("e", b"E", etag="an older version's"), original("gone")]
    add(archive, rows, rejections=rejections)
    result = verify(VerifySettings(executor="local", archive=archive.url, source=source.url), quiet=True)
    assert (result.source_objects, result.failed, result.ok) == (7, 0, False)
    assert (result.absent, result.absent_keys) == (4, ("c", "d", "f", "z"))
    assert (result.outdated, result.outdated_keys) == (1, ("e",))
    facts = result.to_dict()
    assert (facts["ok"], facts["absent"], facts["outdated"]) == (False, 4, 1)
    assert (facts["rejected"], facts["rejected_keys"]) == (1, ("b",))
    for key in ("b", "c", "d", "e", "f", "z"):
        source.delete(key)
    assert verify(VerifySettings(executor="local", archive=archive.url, source=source.url), quiet=True).ok
    assert verify(VerifySettings(executor="local", archive=archive.url), quiet=True).source_objects == 0


def test_a_copy_with_other_times_is_compared_by_its_bytes(
    tmp_path: Path, tiny_model_folder: Path, tiny_codec: Codec
) -> None:
    files = {f"{n}.png": image_file("PNG", seed=n) for n in range(3)} | {"note.txt": b"note", "film.mov": b"film"}
    archive = Archive.create(str(tmp_path / "archive"))
    archive.put_model(tiny_codec.fingerprint, tiny_model_folder)
    rows = [compressed(tiny_codec, key, files[key]) for key in sorted(files) if key.endswith(".png")]
    add(archive, sorted([*rows, original("note.txt", b"note"), original("film.mov", b"film")], key=lambda r: r["key"]))
    copy = tmp_path / "copy"
    copy.mkdir()
    for key, data in files.items():
        (copy / key).write_bytes(data)

    def checked(**settings: Any) -> VerifyResult:
        chosen = {"archive": archive.url, "source": str(copy), "sample": "all", "executor": "local"} | settings
        return verify(VerifySettings.model_validate(chosen), quiet=True)

    result = checked()
    assert (result.compared, result.changed, result.outdated, result.same_bytes, result.ok) == (3, 0, 0, 5, True)
    (copy / "note.txt").write_bytes(b"NOTE")  # of equal size
    (copy / "0.png").write_bytes(files["1.png"])
    result = checked()
    assert (result.compared, result.changed, result.outdated, result.same_bytes) == (2, 1, 2, 3)
    assert result.outdated_keys == ("0.png", "note.txt") and not result.ok
    result = checked(exclude=["0.png", "note.txt"])
    assert (result.source_objects, result.excluded, result.outdated) == (3, 2, 0)


def test_of_many_absent_objects_the_first_few_are_named_and_a_lost_shard_hides_its_own(tmp_path: Path) -> None:
    from pipeline.verify.survey import survey

    source = open_store(str(tmp_path / "source"))
    for i in range(60):
        source.put(f"{i:02d}", b"x")
    archive = Archive.create(str(tmp_path / "archive"))
    lost = add(archive, [original("10"), original("14")]).add
    add(archive, [original("12", etag="older"), original("50", etag="older")], run="second")
    assert lost is not None
    archive.images.put(lost.path, b"no Parquet file any more")
    found = survey(archive, archive.shards(), "0", SourceListing(source)).source
    assert (found.objects, found.unknown) == (60, 4)  # 10, 11, 13, 14: nobody knows
    assert (found.outdated, found.absent) == (2, 54)
    assert found.absent_keys == tuple(f"{i:02d}" for i in range(25) if i not in (10, 11, 12, 13, 14))[:NAMED]


def test_an_empty_archive_is_sound(tmp_path: Path) -> None:
    result = verify(VerifySettings(executor="local", archive=Archive.create(str(tmp_path / "a")).url), quiet=True)
    assert result.ok and result.rows == 0 and result.to_dict()["ok"] is True


def test_what_is_not_there_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        verify(VerifySettings(executor="local", archive=str(tmp_path / "a")), quiet=True)
    archive = Archive.create(str(tmp_path / "a"))
    with pytest.raises(StorageError, match="does not exist"):
        verify(VerifySettings(executor="local", archive=archive.url, source=str(tmp_path / "b")), quiet=True)


def test_a_fidelity_that_does_not_hold_is_a_problem_and_one_within_tolerance_is_not(tiny_codec: Codec) -> None:
    source = image_file("PNG", seed=3)
    row = compressed(tiny_codec, "k", source)
    (picture,) = tiny_codec.decompress([row["payload"]])
    assert problem_with_fidelity(row, picture, source) is None
    assert problem_with_fidelity(row | {"psnr": row["psnr"] + 0.04}, picture, source) is None
    assert "row says" in str(problem_with_fidelity(row | {"psnr": row["psnr"] + 0.06}, picture, source))
    assert "row says nothing" in str(problem_with_fidelity(row | {"psnr": None}, picture, source))
    reading = read(source)
    assert isinstance(reading, Reading) and reading.picture is not None
    score = ssimulacra2(reading.picture.pixels, picture.pixels)
    assert problem_with_fidelity(row | {"ssimulacra2": score + 0.09}, picture, source) is None
    assert "its SSIMULACRA2 is" in str(problem_with_fidelity(row | {"ssimulacra2": score + 0.11}, picture, source))
    assert "not those that were compressed" in str(problem_with_fidelity(row, picture, image_file("PNG", seed=4)))


def test_alpha_that_differs_in_one_pixel_is_a_problem(tiny_codec: Codec) -> None:
    source = image_file("PNG", "RGBA", seed=3)
    row = compressed(tiny_codec, "k", source)
    (picture,) = tiny_codec.decompress([row["payload"]])
    assert picture.alpha is not None and problem_with_fidelity(row, picture, source) is None
    alpha = picture.alpha.copy()
    alpha[0, 0] ^= 1
    assert "alpha" in str(problem_with_fidelity(row, Picture(picture.pixels, alpha), source))


def test_a_picture_of_another_shape_than_its_row_is_a_problem(tiny_codec: Codec) -> None:
    row = compressed(tiny_codec, "k", image_file("PNG", "L"))
    (picture,) = tiny_codec.decompress([row["payload"]])
    assert problem_with_picture(row, picture) is None
    assert "decodes to 69x50" in str(problem_with_picture(row, Picture(picture.pixels[:, 1:])))
    assert "colour kind" in str(problem_with_picture(row, Picture(np.repeat(picture.pixels, 3, 2))))


def test_a_payload_whose_model_the_archive_lacks_is_a_problem(tiny_codec: Codec) -> None:
    (row,) = table_of([compressed(tiny_codec, "k", image_file("PNG"))]).to_pylist()
    assert problem_with(row, {tiny_codec.fingerprint}) is None
    assert "lacks its model" in str(problem_with(row, set()))


def test_any_single_byte_changed_is_found(tiny_codec: Codec) -> None:
    rows = table_of([compressed(tiny_codec, "k", image_file("PNG")), original("k", os.urandom(64))]).to_pylist()
    for each in rows:
        for at in range(len(each["payload"])):
            changed = bytearray(each["payload"])
            changed[at] ^= 0x10
            assert problem_with(each | {"payload": bytes(changed)}, {tiny_codec.fingerprint}), at


def test_psnr_is_that_of_the_definition() -> None:
    a = np.zeros((2, 2, 3), np.uint8)
    b = a.copy()
    b[0, 0, 0] = 255
    assert psnr(a, b) == pytest.approx(10 * math.log10(12)) and psnr(a, a) == math.inf
