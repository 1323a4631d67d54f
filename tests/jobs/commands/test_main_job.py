"""Encode, status, verify and decode by the command line, also with a damaged payload."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.cli import main
from pipeline.archive.archive import Archive
from tests.conftest import photo_like
from tests.pipeline.making import add, original

pytestmark = pytest.mark.usefixtures("local_ray")
KEYS = [f"{year}/{n}.png" for year in (2023, 2024) for n in range(4)]
UNREADABLE = "2024/broken.jpg"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for n, key in enumerate(KEYS):
        path = folder / key
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(photo_like(90, 120 + n, seed=n)).save(path)
    (folder / UNREADABLE).write_bytes(b"not an image")
    return folder


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory, photos: Path, tiny_model_folder: Path, local_ray: None) -> Path:
    where = tmp_path_factory.mktemp("archive") / "encoded"
    assert main(["encode", str(photos), str(where), "--model", str(tiny_model_folder), "--quiet"]) == 0
    return where


def result(capsys: pytest.CaptureFixture[str], *argv: object, status: int = 0) -> dict[str, Any]:
    """The JSON that a command prints; standard output holds nothing else."""
    capsys.readouterr()
    assert main([str(a) for a in argv] + ["--json", "--quiet"]) == status
    captured = capsys.readouterr()
    assert captured.err == ""
    parsed: dict[str, Any] = json.loads(captured.out)
    return parsed


def test_encoding_again_finds_nothing_to_do(
    photos: Path, archive: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = result(capsys, "encode", photos, archive, "--model", tiny_model_folder)
    assert (again["latents"], again["unchanged"], again["missing"]) == (0, len(KEYS) + 1, None)


def test_another_quality_or_model_hints_at_repress_and_the_same_ones_do_not(
    photos: Path,
    archive: Path,
    tiny_model_folder: Path,
    other_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nightly = tmp_path / "nightly.yaml"
    nightly.write_text(f"source: {photos}\narchive: {archive}\nmodel: {other_model_folder}\n")
    words = ["encode", str(photos), str(archive), "--model", str(tiny_model_folder)]
    for command, hinted in (
        ([*words, "--quality", "20"], True),
        (["encode", str(photos), str(archive), "--model", str(other_model_folder)], True),
        (["sync", str(nightly)], True),
        (words, False),
    ):
        capsys.readouterr()
        assert main([*command, "--quiet"]) == 0
        said = capsys.readouterr().out
        assert ("8 of the unchanged images were compressed by another model or codec, with" in said) == hinted
        assert ("--repress" in said) == hinted
    assert main(["sync", str(nightly), "--dry-run"]) == 0
    assert "of these by another model or target" in capsys.readouterr().out


def test_status_counts_the_archive(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = result(capsys, "status", archive)
    assert status["rows"] == len(KEYS) + 1
    assert status["payload_bytes"] < status["source_bytes"]
    assert main(["status", str(archive)]) == 0
    text = capsys.readouterr().out
    assert "text file" in text and "rejected" not in text
    assert "runs" not in text


def test_what_is_not_in_the_archive_is_one_line_and_exit_status_1_and_status_lists_it(
    photos: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["encode", str(photos), str(tmp_path / "archive"), "--model", str(tiny_model_folder), "--quiet"]
    words += ["--executor", "local", "--unreadable", "reject", "--exclude", "2023/", "--exclude", "1.png,3.png"]
    for expected in ("1 rejected: text file (1)", "1 rejected before (--retry-rejected"):
        assert main(words) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and said.startswith("maepress: not all of the source is in the archive: ")
        assert expected in said
    status = result(capsys, "status", tmp_path / "archive")
    assert (status["rows"], status["rejected_keys"]) == (2, {UNREADABLE: "read: text file"})
    assert status["left_out"]["excluded"] == 6
    assert main(["status", str(tmp_path / "archive")]) == 0
    text = capsys.readouterr().out
    assert UNREADABLE in text and "left out by include and exclude" in text

    assert main([*words[:6], "--exclude", "**"]) == 2
    assert "none is left by --include and --exclude" in capsys.readouterr().err


def test_status_says_that_no_run_is_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive = Archive.create(str(tmp_path))
    add(archive, [original("a")])
    assert main(["status", archive.url, "--runs"]) == 0
    assert "runs: none is recorded" in capsys.readouterr().out


def test_status_shows_many_qualities_as_their_range_and_median(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = Archive.create(str(tmp_path))
    shares = [10 + n / 4 for n in range(85)] + [12.25] * 90
    add(archive, [original(f"{n:03}") | {"quality": quality} for n, quality in enumerate(shares)])
    assert main(["status", archive.url]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "qualities" in line)
    assert line.split(maxsplit=1)[1].strip() == "10 to 31, median 12.25"
    assert sorted(shares)[len(shares) // 2] == 12.25


def test_verify_passes_an_intact_archive(archive: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked = result(capsys, "verify", archive, "--source", photos, "--sample", "all")
    assert checked["ok"] is True


def test_decode_gives_the_images_back(
    archive: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result(capsys, "decode", archive, tmp_path, "--keys", "2023/*")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.*")) == KEYS[:4]
    for key in KEYS[:4]:
        with Image.open(photos / key) as before, Image.open(tmp_path / key) as after:
            assert before.size == after.size
            assert np.mean((np.asarray(before, float) - np.asarray(after, float)) ** 2) < 60


def test_a_damaged_payload_is_named_and_the_rest_goes_on(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged, restored = tmp_path / "archive", tmp_path / "restored"
    shutil.copytree(archive, damaged)
    damage(damaged, KEYS[2])
    capsys.readouterr()

    assert main(["verify", str(damaged), "--quiet", "--executor", "local"]) == 1
    assert KEYS[2] in capsys.readouterr().out
    assert main(["decode", str(damaged), str(restored), "--quiet", "--executor", "local"]) == 1
    assert KEYS[2] in capsys.readouterr().out
    assert sorted(str(p.relative_to(restored)) for p in restored.rglob("*.*")) == sorted(
        {*KEYS, UNREADABLE} - {KEYS[2]}
    )


def damage(archive: Path, key: str) -> None:
    """Flip a bit in the middle of a key's payload in its Parquet file."""
    row = Archive.open(str(archive)).row(key)
    assert row is not None
    for path in (archive / "images").glob("*.parquet"):
        data = bytearray(path.read_bytes())
        at = data.find(row["payload"])
        if at >= 0:
            data[at + len(row["payload"]) // 2] ^= 1
            path.write_bytes(data)
            return
    raise AssertionError("the payload is in no file")


@pytest.mark.slow
def test_places_may_be_relative_to_where_the_command_is_typed(
    photos: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copytree(tiny_model_folder, tmp_path / "start")
    monkeypatch.chdir(tmp_path)
    how = ["--init", "start", "--max-steps", "1", "--workers", "1", "--crop", "64", "--batch", "2"]
    trained = result(capsys, "train", "photos", "--out", "model", *how)
    assert trained["steps"] == 1
    assert (tmp_path / "model" / "model.safetensors").is_file()
    encoded = result(capsys, "encode", "photos", "archive", "--model", "model")
    assert (trained["name"], encoded["model_name"]) == ("model", "model")
    assert (encoded["latents"], encoded["model"]) == (len(KEYS), trained["fingerprint"])
    assert result(capsys, "decode", "archive", "restored")["written"] == len(KEYS) + 1
    assert sorted(str(p.relative_to("restored")) for p in Path("restored").rglob("*.*")) == sorted([*KEYS, UNREADABLE])
