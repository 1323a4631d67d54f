"""A WebDataset and a zip through encode, nights, verify, release and decode, on the local executor."""

import zipfile
from pathlib import Path

import pytest
import webdataset

from model.core.errors import MaepressError
from pipeline.archive.archive import Archive
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeSettings, encode
from pipeline.estimate.run import EstimateSettings, estimate
from pipeline.release.run import ReleaseSettings, release
from pipeline.storage.open import open_store
from pipeline.sync.run import SyncSettings, sync
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.making import image_file


def webdataset_file(path: Path, seeds: range) -> bytes:
    with webdataset.TarWriter(str(path)) as out:
        for seed in seeds:
            out.write({"__key__": f"{seed:04d}", "png": image_file("PNG", seed=seed), "cls": seed % 3})
    return path.read_bytes()


def zip_file(path: Path, seeds: range, changed: int | None = None) -> bytes:
    with zipfile.ZipFile(path, "w") as out:
        for seed in seeds:
            picture = image_file("PNG", seed=100 + seed if seed == changed else seed)
            out.writestr(zipfile.ZipInfo(f"{seed}.png"), picture)
    return path.read_bytes()


def test_members_are_encoded_once_follow_their_archive_files_and_come_back(
    bucket: str, tmp_path: Path, tiny_model_folder: Path
) -> None:
    inner = open_store(f"{bucket}/in")
    inner.put("a.tar", webdataset_file(tmp_path / "a.tar", range(3)))
    inner.put("b.zip", zip_file(tmp_path / "b.zip", range(3)))
    inner.put("c.png", image_file("PNG", seed=9))
    source, archive = f"{bucket}/in#members", f"{bucket}/archive"
    job = {"source": source, "archive": archive, "model": str(tiny_model_folder), "executor": "local"}
    first = encode(EncodeSettings.model_validate(job), quiet=True)
    assert (first.latents + first.originals, first.rejected, first.missing) == (10, 0, None)
    again = encode(EncodeSettings.model_validate(job), quiet=True)
    assert (again.latents + again.originals, again.unchanged) == (0, 10)

    inner.put("b.zip", zip_file(tmp_path / "b.zip", range(1, 4), changed=2))
    night = sync(SyncSettings.model_validate(job | {"retire_share": 0.5}), quiet=True)
    assert (night.plan.new, night.plan.changed, night.plan.retire) == (1, 1, 1)

    report = verify(VerifySettings(archive=archive, sample="all", source=source, executor="local"), quiet=True)
    assert not report.problems and (report.source_objects, report.absent, report.outdated) == (10, 0, 0)

    with pytest.raises(MaepressError, match="a member cannot be deleted from its archive file"):
        release(ReleaseSettings(source=source, archive=archive, delete=True, yes=True, executor="local"), quiet=True)

    decode(DecodeSettings(archive=archive, dest=str(tmp_path / "out"), executor="local"), quiet=True)
    found = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*") if path.is_file()
    }
    assert found == {
        *(f"a.tar/{n:04d}.{kind}" for n in range(3) for kind in ("png", "cls")),
        *(f"b.zip/{n}.png" for n in (1, 2, 3)),
        "c.png",
    }
    assert (tmp_path / "out/a.tar/0002.cls").read_bytes() == b"2"
    assert estimate(EstimateSettings(source=source, model=str(tiny_model_folder), compare=0)).objects == 10


def test_rows_stay_while_their_archive_file_is_damaged(tmp_path: Path, tiny_model_folder: Path) -> None:
    inner = open_store(tmp_path / "in")
    whole = webdataset_file(tmp_path / "a.tar", range(2))
    inner.put("a.tar", whole)
    job = {"source": f"{tmp_path}/in#members", "archive": f"{tmp_path}/archive", "model": str(tiny_model_folder)}
    night = SyncSettings.model_validate(job | {"executor": "local", "retire_share": 1})
    sync(night, quiet=True)
    for damage in (whole[:3000], b"no tar" * 300):
        inner.put("a.tar", damage)
        result = sync(night, quiet=True)
        assert result.done is not None and result.done.retired == 0
        assert "1 folder cannot be listed: a.tar/" in str(result.done.missing)
    keys = [row.key for row in Archive.open(job["archive"]).rows_by_key()]
    assert [key for key in keys if key.startswith("a.tar/")] == [
        *("a.tar/0000.cls", "a.tar/0000.png", "a.tar/0001.cls", "a.tar/0001.png")
    ]
