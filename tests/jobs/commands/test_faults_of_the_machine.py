"""Full disks, folders that cannot be written, addresses that nothing opens: one line with the remedy, exit status 2."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cli import main
from jobs.framework.job import MISTAKE, guard
from pipeline.archive.archive import Archive
from pipeline.archive.model_store import cache_folder
from pipeline.planning import shard_grouping
from pipeline.planning.planner import PlanOptions, make_plan
from pipeline.sources.open import open_source
from pipeline.storage.base import Entry, NotListed, Unwritable
from pipeline.storage.listing.temporary_names import TEMPORARY
from pipeline.storage.local.store import LocalStore
from tests.pipeline.making import add, image_file, original


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 256 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    mounting = subprocess.run(command, capture_output=True, text=True)
    if mounting.returncode:
        pytest.skip(f"this user may not mount: {mounting.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def refused(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    """The line that refuses a command."""
    capfd.readouterr()
    status = main([*map(str, words), "--quiet"])
    said = capfd.readouterr().err
    assert status == MISTAKE and said.startswith("maepress: ") and said.count("\n") == 1, (status, said)
    return said


def files(folder: Path) -> list[str]:
    """Names of the files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.png").write_bytes(image_file("PNG", seed=n, size=(70, 50)))
    return folder


def test_a_full_disk_of_the_model_cache_is_named_and_the_next_run_goes_on(
    small_disk: Path,
    small_archive: Archive,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (small_disk / "filling").write_bytes(bytes(240 << 10))
    words = ["decode", small_archive.url, tmp_path / "restored", "--executor", "local", "--keys", "a/0*"]
    with monkeypatch.context() as changed:
        changed.setenv("XDG_CACHE_HOME", str(small_disk))
        said = refused(capfd, *words)
    assert "cache of models" in said and "No space left" in said and "XDG_CACHE_HOME" in said
    assert files(small_disk) == ["filling"] and not files(tmp_path / "restored")
    assert main([*map(str, words), "--quiet"]) == 0


def test_a_full_disk_of_the_cache_of_indexes_is_named_and_the_next_run_goes_on(
    small_disk: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "x.tar", "w") as tar:
        for n in range(5000):
            tar.addfile(tarfile.TarInfo(f"{n:05d}-{'n' * 60}.jpg"))
    words = ["sync", "--source", f"{tmp_path}/tars#members", "--archive", tmp_path / "archive", "--dry-run"]
    words += ["--model", tiny_model_folder, "--executor", "local"]
    with monkeypatch.context() as changed:
        changed.setenv("XDG_CACHE_HOME", str(small_disk))
        said = refused(capfd, *words)
    assert "cache of indexes" in said and "disk is full" in said and "XDG_CACHE_HOME" in said
    assert not files(small_disk)
    assert main([*map(str, words), "--quiet"]) == 0


def test_a_full_disk_of_temporary_files_ends_a_plan(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{n:04d}-{'n' * 80}" for n in range(4000)]

    class Listing(LocalStore):
        def entries(self, unlisted: NotListed | None = None) -> Iterator[Entry]:
            return (Entry(key, 1, "changed") for key in keys)

    archive = Archive.create(str(tmp_path / "archive"))
    add(archive, map(original, keys))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    monkeypatch.setattr(shard_grouping, "_CACHE_KIB", 16)  # more stays in memory
    with pytest.raises(Unwritable, match=r"maepress-plan-.* cannot be written: .* is full .*set TMPDIR"):
        make_plan(Listing(str(tmp_path)), archive, None, PlanOptions(1 << 20))
    assert not files(small_disk)


def test_a_full_disk_of_temporary_files_ends_the_reading_of_annotations(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [{"id": n, "file_name": f"{n}.jpg", "more": "m" * 1000} for n in range(20_000)]
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "coco.json").write_text(json.dumps({"images": images}))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with pytest.raises(Unwritable, match=r"maepress-coco-.* cannot be written: .* is full .*set TMPDIR"):
        list(open_source(f"{tmp_path}/source#sidecars").entries())
    assert not files(small_disk)


def test_a_full_disk_ends_a_decode_and_leaves_whole_files(
    small_disk: Path, small_archive: Archive, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (small_disk / "filling").write_bytes(bytes(200 << 10))
    dest = small_disk / "restored"
    words = ["decode", small_archive.url, dest, "--executor", "local"]
    said = refused(capfd, *words)
    assert str(dest) in said and "No space left" in said and "free space" in said
    (small_disk / "filling").unlink()
    whole = tmp_path / "whole"
    assert main(["decode", small_archive.url, str(whole), "--executor", "local", "--quiet"]) == 0
    for name in files(dest):
        assert TEMPORARY not in name and (dest / name).read_bytes() == (whole / name).read_bytes()


def test_a_full_disk_ends_an_encode_and_the_next_run_goes_on(
    small_disk: Path, photos: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "filling").write_bytes(bytes(250 << 10))
    words = ["encode", photos, small_disk / "archive", "--model", tiny_model_folder, "--executor", "local"]
    assert "No space left" in refused(capfd, *words)
    assert not [name for name in files(small_disk) if TEMPORARY in name]
    (small_disk / "filling").unlink()
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert main([*map(str, words), "--quiet"]) == 0
    assert main(["verify", str(small_disk / "archive"), "--executor", "local", "--quiet"]) == 0


@pytest.mark.slow
def test_an_archive_that_becomes_read_only_while_it_is_written_is_named_and_stays_sound(
    small_disk: Path, photos: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    archive = small_disk / "archive"
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    words = ["encode", photos, archive, "--model", tiny_model_folder, "--executor", "local"]
    script = (
        "import subprocess, sys\nfrom jobs.cli import main\nfrom pipeline.archive.log.commits import Committer\n"
        "commit = Committer.commit\n"
        "def remounted(*arguments):\n"
        f"    subprocess.run(['mount', '-o', 'remount,ro', {str(small_disk)!r}], check=True)\n"
        "    commit(*arguments)\n"
        "Committer.commit = remounted\n"
        "sys.exit(main([*sys.argv[1:], '--quiet']))"
    )
    # A process of its own, as the next run gives way to one that is there.
    done = subprocess.run([sys.executable, "-c", script, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == MISTAKE and done.stderr.count("\n") == 1, done.stderr
    assert str(archive) in done.stderr and "ead-only" in done.stderr
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert main([*map(str, words), "--quiet"]) == 0
    assert main(["verify", str(archive), "--executor", "local", "--quiet"]) == 0


def test_an_archive_on_a_read_only_disk_is_named(
    small_disk: Path, photos: Path, tiny_model_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    words = ["encode", photos, small_disk / "archive", "--model", tiny_model_folder, "--executor", "local"]
    said = refused(capfd, *words)
    assert str(small_disk / "archive") in said


@pytest.mark.parametrize(
    "scheme", ["foo", "tar", "github", "hdfs", "reference", "filecache", "generic", "", "no_scheme"]
)
def test_an_address_that_nothing_opens_is_named(
    scheme: str, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"{scheme}://there/x"
    for words in (["encode", url, tmp_path / "archive"], ["encode", photos, url], ["status", url]):
        said = refused(capfd, *words)
        assert url in said and "s3://" in said


@pytest.mark.parametrize("place", ["x\0y", "file://", "file://localhost"])
def test_a_place_that_is_none_is_refused(place: str, photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words in (["encode", photos, place], ["status", place]):
        assert "names n" in refused(capfd, *words)


def raises(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), ["/tmp/x", "No space left", "free space"]),
        (OSError(errno.EROFS, "Read-only file system"), ["Read-only", "mount it"]),
        (PermissionError(errno.EACCES, "Permission denied", "/.ray"), ["/.ray", "Permission denied"]),
        (OSError(errno.EMFILE, "Too many open files"), ["ulimit -n"]),
        (FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"), ["TMPDIR"]),
        (OSError("AF_UNIX path length cannot exceed 107 bytes: /tmp/..."), ["TMPDIR", "shorter"]),
    ],
)
def test_an_error_of_the_machine_is_one_line_wherever_it_is_noticed(
    error: OSError, names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    wrapped = RuntimeError("a library says something else")
    wrapped.__cause__ = error
    for one in (error, wrapped):
        assert guard(lambda one=one: raises(one)) == MISTAKE  # type: ignore[misc]  # a default binds it now
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and all(name in said for name in names), said
    with pytest.raises(FileNotFoundError):  # a bug, or an object that is gone
        guard(lambda: raises(FileNotFoundError(errno.ENOENT, "No such file", "x")))


def test_without_a_home_models_are_cached_below_the_temporary_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cache_folder() == tmp_path / f"maepress-{os.getuid()}" / "maepress" / "models"


def without_rights(*words: object, **variables: str) -> "subprocess.CompletedProcess[str]":
    """A command as a user who may write only what its permissions allow, although tests run as root."""
    own = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    if own and shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    command = [*own, sys.executable, "-m", "maepress", *map(str, words)]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=240)
    if "setpriv" in done.stderr:
        pytest.skip(done.stderr)
    return done


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", ["TMPDIR too long", "HOME cannot be written", "TMPDIR cannot be written"])
def test_ray_with_odd_folders_works_or_says_one_line(
    fault: str, photos: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    bad = tmp_path / ("x" * 120 if fault == "TMPDIR too long" else "closed")
    bad.mkdir(mode=0o777 if fault == "TMPDIR too long" else 0o555)
    variables = {"HOME": str(bad)} if "HOME" in fault else {"TMPDIR": str(bad)}
    words = ["encode", photos, tmp_path / "archive", "--model", tiny_model_folder, "--executor", "ray", "--quiet"]
    done = without_rights(*words, **variables)
    if done.returncode:
        assert done.returncode == MISTAKE and done.stderr.count("\n") == 1, done.stderr
        assert done.stderr.startswith("maepress: ") and ("TMPDIR" in done.stderr or str(bad) in done.stderr)
