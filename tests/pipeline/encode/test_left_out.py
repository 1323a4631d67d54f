"""What of a source is not in the archive is named, and tried again when the refusal ends."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.archive.archive import Archive
from pipeline.archive.schema import OUTAGE
from pipeline.decode.run import DecodeSettings, decode
from pipeline.encode.result import EncodeResult
from pipeline.encode.run import EncodeSettings, encode
from pipeline.sources.open import open_source
from pipeline.storage.base import Entry, NotListed
from pipeline.storage.listing.source_listing import SourceListing
from pipeline.storage.local.store import LocalStore
from pipeline.storage.open import open_store
from pipeline.sync.run import SyncResult, SyncSettings, sync
from tests.refusing_server import DENIED, REFUSALS, RefusingServer

FILES = {f"{folder}/{n}.txt": f"{folder} {n}".encode() for folder in ("a", "b", "c") for n in range(2)}


def _encode(source: object, archive: object, model: Path, **settings: Any) -> EncodeResult:
    chosen = {"source": str(source), "archive": str(archive), "model": str(model), "executor": "local"} | settings
    return encode(EncodeSettings.model_validate(chosen), quiet=True)


def _sync(source: object, archive: object, model: Path, **settings: Any) -> SyncResult:
    chosen = {"source": str(source), "archive": str(archive), "model": str(model), "executor": "local"} | settings
    return sync(SyncSettings.model_validate(chosen), quiet=True)


def keys_of(archive: object) -> list[str]:
    return [row.key for row in Archive.open(str(archive)).rows_by_key()]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    store = open_store(str(tmp_path / "source"))
    for key, data in FILES.items():
        store.put(key, data)
    return tmp_path / "source"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RefusingServer]:
    with RefusingServer(FILES) as made:
        monkeypatch.setenv("AWS_ENDPOINT_URL", made.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        yield made


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.code)
def test_what_the_store_refuses_is_named_and_tried_again_by_the_next_run(
    server: RefusingServer, refusal: Any, tmp_path: Path, tiny_model_folder: Path
) -> None:
    server.refused |= dict.fromkeys(FILES, refusal)
    result = _encode("s3://bucket", tmp_path / "archive", tiny_model_folder)
    assert (result.originals, result.rejected) == (0, len(FILES))
    assert result.missing is not None and refusal.code in result.missing and "\n" not in result.missing
    assert {row.stage for row in Archive.open(str(tmp_path / "archive")).rejections_by_key()} == {OUTAGE}

    server.refused.clear()
    result = _encode("s3://bucket", tmp_path / "archive", tiny_model_folder)
    assert (result.originals, result.rejected, result.missing) == (len(FILES), 0, None)


def test_a_folder_of_a_bucket_that_may_not_be_listed_is_named_and_the_rest_is_done(
    server: RefusingServer, tmp_path: Path, tiny_model_folder: Path
) -> None:
    assert _sync("s3://bucket", tmp_path / "archive", tiny_model_folder).done is not None
    server.refused["b/"] = DENIED
    server.objects["d/new.txt"] = b"new"
    del server.objects["c/0.txt"]
    done = _sync("s3://bucket", tmp_path / "archive", tiny_model_folder, retire_share=1).done
    assert done is not None and (done.originals, done.retired, done.unlisted) == (1, 1, 1)
    assert "b/" in done.unlisted_folders and "AccessDenied" in str(done.missing)
    assert keys_of(tmp_path / "archive") == sorted({*FILES, "d/new.txt"} - {"c/0.txt"})


@pytest.fixture
def readable_source() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's are not; its files as of another user than root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    for key, data in FILES.items():
        (folder / key).parent.mkdir(exist_ok=True)
        (folder / key).write_bytes(data)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def not_root() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid() == 0:
        os.seteuid(65534)
        yield
        os.seteuid(0)
    else:
        yield


def test_local_files_and_folders_without_permission_are_refused_and_not_rejected_for_ever(
    readable_source: Path, not_root: None
) -> None:
    owner = os.geteuid()
    os.seteuid(os.getuid())
    (readable_source / "c/0.txt").chmod(0)
    (readable_source / "a").chmod(0)
    os.seteuid(owner)
    store = open_source(str(readable_source))
    listing = SourceListing(store)
    assert [entry.key for entry in listing] == ["b/0.txt", "b/1.txt", "c/0.txt", "c/1.txt"]
    assert list(listing.unlisted) == ["a/"] and "Permission denied" in listing.unlisted["a/"]
    assert listing.hides("a/0.txt") and not listing.hides("c/9.txt")
    (failed,) = store.fetch(["c/0.txt"])
    assert not getattr(failed, "is_verdict", True)


def test_a_folder_in_which_nothing_can_be_looked_at_keeps_the_rows_of_its_folders(
    readable_source: Path, not_root: None
) -> None:
    owner = os.geteuid()
    os.seteuid(os.getuid())
    (readable_source / "a" / "deep").mkdir()
    (readable_source / "a" / "deep" / "x.txt").write_bytes(b"x")
    (readable_source / "a").chmod(0o744)  # names may be read, and nothing else
    os.seteuid(owner)
    listing = SourceListing(open_source(str(readable_source)))
    assert "a/deep" not in [entry.key for entry in listing]
    assert list(listing.unlisted) == ["a/deep/"] and listing.hides("a/deep/x.txt")


def test_a_prefix_below_another_one_hides_nothing_of_that(tmp_path: Path) -> None:
    class Partly(LocalStore):
        def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
            assert unlisted is not None
            for prefix in ("x/metadata.jsonl", "x/", "x/y/", "a/"):
                unlisted(prefix, "why")
            yield Entry("x/a", 1, "e")

    listing = SourceListing(Partly(str(tmp_path)))
    assert len(list(listing)) == 1
    assert all(map(listing.hides, ["x/a", "x/metadata.jsonl", "x/n", "x/y/z", "x/z", "a/b"]))
    assert not any(map(listing.hides, ["a", "b", "x", "x0", "y/z"]))
    assert list(listing.unlisted) == ["x/metadata.jsonl", "x/", "x/y/", "a/"]


def test_names_that_are_not_utf8_come_back_on_a_local_disk_byte_for_byte(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    plain = (name.encode() for name in ("plain é.txt", "\ufffdE9.txt", "\ufffd.txt"))
    names = [b"caf\xe9.txt", b"m\xfcll/\xe4.txt", b"\xe9" * 255, *plain]
    files = {os.path.join(os.fsencode(tmp_path / "source"), name): name for name in names}
    for path, data in files.items():
        os.makedirs(os.path.dirname(path), exist_ok=True)
        Path(os.fsdecode(path)).write_bytes(data)
    result = _encode(tmp_path / "source", tmp_path / "archive", tiny_model_folder)
    assert (result.originals, result.missing) == (len(names), None)
    keys = keys_of(tmp_path / "archive")
    assert "caf\ufffdE9.txt" in keys and "m\ufffdFCll/\ufffdE4.txt" in keys and "\ufffd.txt" in keys

    settings = DecodeSettings(archive=str(tmp_path / "archive"), dest=str(tmp_path / "back"), executor="local")
    assert decode(settings, quiet=True).written == len(names)
    back = os.fsencode(tmp_path / "back")
    found = {
        os.path.relpath(os.path.join(folder, name), back): Path(os.fsdecode(os.path.join(folder, name))).read_bytes()
        for folder, _, below in os.walk(back)
        for name in below
    }
    assert found == {name: name for name in names}


def test_excluded_objects_are_counted_and_their_rows_stay(
    source: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    archive = tmp_path / "archive"
    assert _encode(source, archive, tiny_model_folder, exclude="c/").excluded == 2
    assert keys_of(archive) == ["a/0.txt", "a/1.txt", "b/0.txt", "b/1.txt"]
    (source / "a/0.txt").unlink()
    (source / "b/1.txt").write_bytes(b"changed")
    done = _sync(source, archive, tiny_model_folder, retire_share=1, exclude=["b/", "*.mov"]).done
    assert done is not None
    assert (done.originals, done.retired, done.excluded, done.excluded_rows, done.missing) == (2, 1, 2, 2, None)
    assert keys_of(archive) == ["a/1.txt", "b/0.txt", "b/1.txt", "c/0.txt", "c/1.txt"]
    assert Archive.open(str(archive)).row("b/1.txt", ["payload"]) == {"payload": FILES["b/1.txt"]}


def test_an_object_that_is_too_large_is_named(source: Path, tmp_path: Path, tiny_model_folder: Path) -> None:
    (source / "large.bin").write_bytes(bytes((1 << 20) + 1))
    result = _encode(source, tmp_path / "archive", tiny_model_folder, max_object_mib=1)
    assert (result.originals, result.rejected) == (len(FILES), 1)
    assert "1 rejected: larger than the limit (1)" in str(result.missing)
