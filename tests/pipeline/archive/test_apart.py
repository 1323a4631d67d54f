"""An archive, its source and a destination are apart, however they are spelled, in every job that has two places."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.cli import main
from model.core.errors import MaepressError
from pipeline.archive.apart import (
    OWN_FOLDERS,
    require_destination_apart,
    require_new_or_own,
    require_no_archive,
    require_source_apart,
)
from pipeline.archive.archive import Archive
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.run import EncodeSettings, encode
from pipeline.storage.base import Entry, NotListed
from pipeline.storage.listing.temporary_names import temporary_name
from pipeline.storage.local.store import LocalStore
from pipeline.storage.open import StorageError, open_store
from pipeline.sync.run import SyncSettings, sync
from pipeline.train.run import TrainSettings, train
from pipeline.tune.run import TuneSettings, tune_training
from pipeline.verify.run import VerifySettings, verify
from tests.pipeline.making import add, original
from tests.pipeline.spellings import spellings


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source with an archive inside it."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.png").write_bytes(b"a picture")
    add(Archive.create(str(photos / "archive")), [original("a.png")])
    monkeypatch.chdir(tmp_path)
    return photos


def jobs(source: str, archive: str) -> list[Callable[[], object]]:
    """The jobs that have a source and an archive."""
    return [
        lambda: encode(EncodeSettings(source=source, archive=archive), quiet=True),
        lambda: sync(SyncSettings(source=source, archive=archive), quiet=True),
        lambda: sync(SyncSettings(source=source, archive=archive, dry_run=True), quiet=True),
        lambda: verify(VerifySettings(source=source, archive=archive), quiet=True),
    ]


def test_an_archive_inside_its_source_is_refused_by_every_job_and_in_every_spelling(photos: Path) -> None:
    before = sorted(photos.rglob("*"))
    for source in spellings(photos):
        for job in jobs(source, "photos/archive"):
            with pytest.raises(StorageError, match="lies inside its source"):
                job()
    for archive in spellings(photos / "archive"):
        if "#" not in archive:
            with pytest.raises(StorageError, match="lies inside its source"):
                require_source_apart("photos", archive)
    assert [path for path in sorted(photos.rglob("*")) if not path.is_symlink()] == before


def test_an_archive_that_is_its_source_or_will_be_in_it_is_refused(photos: Path) -> None:
    for archive in ("photos", "./photos/", f"file://{photos}"):
        with pytest.raises(StorageError, match=r"the archive .* is its source"):
            require_source_apart("photos", archive)
    for archive in ("photos/not-made", "other/../photos/x", "S3://b/p//archive", "s3a://b/p"):
        with pytest.raises(StorageError, match="its source"):
            require_source_apart("s3://b/p/" if "3" in archive else "photos", archive)


def test_the_folders_of_an_archive_are_no_source_and_the_folder_around_them_may_hold_one(photos: Path) -> None:
    for name in OWN_FOLDERS:
        with pytest.raises(StorageError, match="the archive's own folder"):
            require_source_apart(f"photos/archive/{name}/x", "photos/archive")
    require_source_apart("s3://bucket/photos", "s3://bucket")
    require_source_apart("photos", "photos-archive")
    require_source_apart("s3://bucket/photos", "s3://bucket/photos-archive")


@pytest.mark.parametrize("dest", ["photos/archive", "photos/archive/images", "photos/archive/back", "photos", "."])
def test_a_destination_in_or_above_the_archive_is_refused(photos: Path, dest: str) -> None:
    before = {path: path.stat().st_mtime_ns for path in photos.rglob("*") if path.is_file()}
    (photos.parent / dest).mkdir(exist_ok=True)
    for spelled in spellings((photos.parent / dest).resolve()):
        if "#" not in spelled:
            with pytest.raises(StorageError, match="could be overwritten"):
                decode(DecodeSettings(archive="photos/archive", dest=spelled, overwrite=True), quiet=True)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_destination_beside_the_archive_is_fine(photos: Path) -> None:
    require_destination_apart("photos/archive-back", "photos/archive")
    require_destination_apart("s3://bucket/back", "s3://bucket/archive")


def writers(out: str) -> list[Callable[[], object]]:
    """The jobs that write a folder of their own."""
    images = "elsewhere"
    return [
        lambda: train(TrainSettings(images=images, out=out, overwrite=True)),
        lambda: tune_training(TuneSettings(images=images, out=out, overwrite=True), print),
        lambda: main(["evaluate", images, "--out", out, "--overwrite"]),
    ]


def test_results_of_other_jobs_go_into_no_archive(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Archive.create("other")
    add(other, [original("a.png")])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.png").write_bytes(b"a picture")
    before = sorted(tmp_path.rglob("*"))
    for out in ("other", "./other/", f"file://{tmp_path}/other", "other/models/new", "other/images"):
        for job in writers(out):
            try:
                assert job() == 2
                said = capsys.readouterr().err
            except MaepressError as e:
                said = e.message
            assert "the output folder" in said and "the archive" in said, out
    for dest in ("other", "other/restored"):
        with pytest.raises(StorageError, match=r"the destination .* the archive"):
            decode(DecodeSettings(archive="photos/archive", dest=dest, executor="local"), quiet=True)
    assert sorted(tmp_path.rglob("*")) == before
    require_no_archive(open_store("other/adapting"), "the output folder")  # where a nightly job trains
    require_no_archive(open_store("other2"), "the output folder")


def test_a_new_archive_goes_where_nothing_else_is(place: str, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(b"a picture")
    model = open_store(f"{place}/model")
    model.put("config.json", b"{}")
    settings = EncodeSettings(source=str(tmp_path / "photos"), archive=model.url, executor="local")
    with pytest.raises(StorageError, match=r"no archive, and holds other files .'config.json'.: give an empty"):
        encode(settings, quiet=True)
    require_new_or_own(open_store(f"{place}/new"))
    begun = open_store(f"{place}/begun")
    begun.put("rejections/_delta_log/00000000000000000000.json", b"{}")
    require_new_or_own(begun)
    archive = Archive.create(f"{place}/archive")
    archive.root.put("notes.txt", b"mine")
    require_new_or_own(archive.root)
    with pytest.raises(StorageError, match=r"the archive .* lies inside the archive"):
        require_new_or_own(archive.root.child("images"))


def test_a_new_archive_may_be_made_by_two_jobs_at_once(place: str, tmp_path: Path) -> None:
    probed = open_store(f"{place}/probed")
    probed.put(temporary_name(), b"")  # the other job is just finding out whether it may write there
    require_new_or_own(probed)

    class MadeMeanwhile(LocalStore):
        def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
            Archive.create(self.url).root.put("plans/1.parquet", b"of the other job")
            yield from super().entries(unlisted)

    root = MadeMeanwhile(str(tmp_path / "made"))
    (tmp_path / "made").mkdir()
    require_new_or_own(root)
    assert (tmp_path / "made/images/_delta_log").is_dir()


def test_a_new_archive_goes_onto_a_disk_whose_lost_and_found_cannot_be_read(tmp_path: Path) -> None:
    class Disk(LocalStore):
        def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
            raise StorageError("cannot list lost+found/: Permission denied")

    require_new_or_own(Disk(str(tmp_path)))
