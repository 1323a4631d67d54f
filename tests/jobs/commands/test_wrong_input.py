"""Mistakes about URLs and models: one line that names the thing, exit status 2, within seconds."""

from pathlib import Path

import pytest
from PIL import Image

from jobs.cli import main
from jobs.demo.s3_server import S3Server
from pipeline.archive.archive import Archive
from tests.conftest import photo_like
from tests.pipeline.making import add, original

pytestmark = pytest.mark.usefixtures("local_ray")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for n in range(3):
        Image.fromarray(photo_like(70, 100, seed=n)).save(folder / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def server(s3: S3Server) -> S3Server:
    """The session's server, with a bucket that holds an object."""
    s3.make_bucket("photos")
    s3.client().put_object(Bucket="photos", Key="a.png", Body=b"x")
    return s3


@pytest.fixture
def say(capfd: pytest.CaptureFixture[str]) -> "Say":
    return Say(capfd)


class Say:
    """Runs a command that must be refused and returns the line that refuses it."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *argv: object) -> str:
        self._capfd.readouterr()
        status = main([str(a) for a in argv])
        captured = self._capfd.readouterr()
        assert status == 2, captured.err
        assert captured.out == ""
        assert captured.err.startswith("maepress: "), captured.err
        assert captured.err.count("\n") == 1, captured.err
        return captured.err


def commands(source: object, model: object, tmp_path: Path) -> dict[str, list[object]]:
    """The commands that read images."""
    return {
        "train": ["train", source, "--out", tmp_path / "model", "--max-steps", 1],
        "encode": ["encode", source, tmp_path / "archive", "--model", model],
    }


@pytest.mark.parametrize("name", ["train", "encode"])
def test_a_source_that_is_missing_or_empty_is_named(
    name: str, say: Say, tmp_path: Path, tiny_model_folder: Path
) -> None:
    absent, empty = tmp_path / "absent", tmp_path / "empty"
    empty.mkdir()
    assert f"{absent} does not exist" in say(*commands(absent, tiny_model_folder, tmp_path)[name])
    assert str(empty) in say(*commands(empty, tiny_model_folder, tmp_path)[name])
    assert not (tmp_path / "archive").exists(), "a refused job leaves nothing behind"


@pytest.mark.parametrize("name", ["train", "encode"])
def test_a_bucket_that_is_missing_is_named(
    name: str, say: Say, tmp_path: Path, tiny_model_folder: Path, server: S3Server
) -> None:
    with server.environment():
        assert "no-such-bucket" in say(*commands("s3://no-such-bucket/x", tiny_model_folder, tmp_path)[name])


@pytest.mark.parametrize("name", ["train", "encode"])
def test_a_bucket_that_is_forbidden_is_named_without_the_credentials(
    name: str, say: Say, tmp_path: Path, tiny_model_folder: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.environment(), monkeypatch.context() as changed:
        changed.setenv("AWS_ACCESS_KEY_ID", "stranger")
        changed.setenv("AWS_SECRET_ACCESS_KEY", "do-not-print-me")
        said = say(*commands("s3://photos", tiny_model_folder, tmp_path)[name])
    assert "s3://photos" in said
    assert "do-not-print-me" not in said
    assert "stranger" not in said


@pytest.mark.timeout(90)
@pytest.mark.parametrize("name", ["train", "encode"])
def test_an_endpoint_that_does_not_answer_is_named_within_seconds(
    name: str, say: Say, tmp_path: Path, tiny_model_folder: Path, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.environment(), monkeypatch.context() as changed:
        changed.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        said = say(*commands("s3://photos", tiny_model_folder, tmp_path)[name])
    assert "s3://photos" in said
    assert "unreachable" in said


def test_a_target_that_cannot_be_written_is_named(
    say: Say, photos: Path, tiny_model_folder: Path, tmp_path: Path, server: S3Server
) -> None:
    (tmp_path / "file").write_text("in the way")
    target = tmp_path / "file" / "inside"
    assert str(target) in say("encode", photos, target, "--model", tiny_model_folder)
    assert str(target) in say("train", photos, "--out", target, "--max-steps", 1)
    with server.environment(reader=True):
        assert "s3://photos/archive" in say("encode", photos, "s3://photos/archive", "--model", tiny_model_folder)


@pytest.mark.parametrize("name", ["status", "verify", "decode"])
def test_a_folder_that_is_no_archive_is_named(name: str, say: Say, photos: Path, tmp_path: Path) -> None:
    more = [tmp_path / "restored"] if name == "decode" else []
    assert str(photos) in say(name, photos, *more)
    assert str(tmp_path / "absent") in say(name, tmp_path / "absent", *more)
    assert not (tmp_path / "restored").exists()


def test_a_model_that_is_missing_is_named(say: Say, photos: Path, tmp_path: Path) -> None:
    said = say("encode", photos, tmp_path / "archive", "--model", tmp_path / "absent")
    assert f"{tmp_path / 'absent'} is no model" in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--quality", "99"], "--quality 99: must be at most 63"),
        (["--actors", "5:2"], "--actors 5:2: "),
        (["--qualty", "9"], "unknown option --qualty: did you mean --quality?"),
        (["--gpus-per-actor", "1000"], "1000 GPUs"),
    ],
)
def test_a_nonsense_option_is_named(
    options: list[str], reason: str, say: Say, photos: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    said = say("encode", photos, tmp_path / "archive", "--model", tiny_model_folder, *options)
    assert reason in said


def test_credentials_in_a_url_are_refused_and_not_repeated(say: Say, tmp_path: Path) -> None:
    said = say("status", "s3://me:do-not-print-me@bucket/archive")
    assert "do-not-print-me" not in said
    assert "AWS_ACCESS_KEY_ID" in said


def test_an_output_folder_that_holds_something_else_is_named_and_nothing_there_changes(
    say: Say, photos: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    kept: dict[Path, bytes] = {}
    for job, name in (("train", "logs/server.log"), ("train", "model.safetensors"), ("tune", "best.yaml"),
                      ("evaluate", "report.html")):  # fmt: skip
        out = tmp_path / f"{job}-{len(kept)}"
        (out / name).parent.mkdir(parents=True)
        (out / name).write_bytes(b"mine")
        kept[out / name] = b"mine"
        more = ["--no-resume", "--max-steps", 1] if job == "train" else []
        said = say(job, photos, "--out", out, *more)
        assert f"{out} holds {name.partition('/')[0]}" in said and "--overwrite" in said
    assert {path: path.read_bytes() for path in kept} == kept
    for job in ("train", "tune", "evaluate"):
        assert "lies inside the images" in say(job, photos, "--out", f"{photos}/./report")
    assert not (photos / "report").exists()


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every start of a Ray session fails, and Ray itself is not connected to by a job."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("Ray was started")

    for job in ("encode", "sync", "decode", "verify", "train", "tune"):
        monkeypatch.setattr(f"jobs.commands.{job}.ray_session", refuse)


@pytest.mark.usefixtures("no_ray")
def test_what_can_be_checked_before_ray_starts_is(
    say: Say, photos: Path, tmp_path: Path, tiny_model_folder: Path
) -> None:
    model = ["--model", tiny_model_folder]
    (tmp_path / "file").write_text("in the way")
    archive = tmp_path / "archive"
    add(Archive.create(str(archive)), [original("a.png")])
    nightly = tmp_path / "nightly.yaml"
    nightly.write_text(f"source: {photos}\narchive: {tmp_path / 'new'}\nmodel: nosuch\n")
    for words in (
        ["encode", photos, tmp_path / "new", "--model", "nosuch"],
        ["sync", nightly],
        ["train", photos, "--out", tmp_path / "new", "--init", "nosuch"],
        ["tune", photos, "--out", tmp_path / "new", "--init", "nosuch"],
    ):
        assert "nosuch is no model" in say(*words)
    for target in (tmp_path / "file", tmp_path / "file" / "inside"):
        for words in (
            ["encode", photos, target, *model],
            ["decode", archive, target],
            ["train", photos, "--out", target, "--max-steps", 1],
            ["tune", photos, "--out", target],
        ):
            assert f"{target} cannot be written: {tmp_path / 'file'} is a file" in say(*words)
    assert "--batch 2 cannot be split" in say("train", photos, "--out", tmp_path / "new", "--batch", 2, "--workers", 4)
    assert not (tmp_path / "new").exists(), "a refused job leaves nothing behind"


@pytest.mark.parametrize("url", ["http://example.org/photos", "https://example.org/photos/", "HTTP://example.org"])
def test_a_web_address_is_refused_in_one_line(url: str, say: Say, photos: Path, tmp_path: Path) -> None:
    for words in (
        ["encode", url, tmp_path / "archive"],
        ["encode", photos, url],
        ["train", url, "--out", tmp_path / "model"],
        ["status", url],
        ["compress", url, tmp_path / "out.mae"],
        ["estimate", url],
    ):
        assert "not web pages" in say(*words)


@pytest.mark.usefixtures("no_ray")
def test_joining_videos_of_an_archive_without_any_is_refused_and_nothing_is_made(say: Say, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    add(Archive.create(str(archive)), [original("a.png"), original("clip.mp4")])
    said = say("decode", archive, tmp_path / "back", "--format", "mp4")
    assert "is a frame of a video" in said and "#frames=30" in said
    assert not (tmp_path / "back").exists()


def test_places_that_are_not_apart_are_named(say: Say, photos: Path, tmp_path: Path) -> None:
    assert "lies inside its source" in say("encode", photos, f"file://{photos}/archive")
    assert "is its source" in say("encode", f"{photos}/.", photos)
    archive = tmp_path / "archive"
    Archive.create(str(archive))
    assert "could be overwritten" in say("decode", archive, f"{archive}/restored")
    assert "could be overwritten" in say("decode", archive, tmp_path)
    assert "lies inside its source" in say("verify", archive, "--source", tmp_path)
    assert "lies inside its source" in say("browse", archive, "--source", tmp_path)


@pytest.mark.parametrize(
    "argv",
    [
        ["encode", "", "archive"],
        ["encode", "photos", ""],
        ["train", "", "--out", "model"],
        ["train", "photos", "--out", ""],
        ["decode", "", "restored"],
        ["decode", "archive", ""],
        ["export", "archive", ""],
        ["replicate", "archive", ""],
        ["verify", "archive", "--source", ""],
        ["verify", "archive", "--repair-from", ""],
        ["release", "", "archive", "--delete", "--yes"],
        ["release", "photos", "archive", "--second-copy", "", "--delete", "--yes"],
        ["evaluate", "photos", "--out", ""],
        ["tune", "photos", "--out", ""],
        ["estimate", ""],
        ["status", ""],
        ["forget", "", "--keys", "a", "--yes"],
        ["vacuum", ""],
        ["compress", "", "out.mae"],
        ["compress", "photos/0.png", ""],
    ],
    ids=" ".join,
)
def test_a_place_that_is_an_empty_text_is_never_the_whole_disk(
    argv: list[str], photos: Path, say: "Say", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is not set, in quotes."""
    (tmp_path / "photos").symlink_to(photos)
    add(Archive.create(str(tmp_path / "archive")), [original("0.png")])
    before = sorted(path.name for path in Path("/").iterdir())
    monkeypatch.chdir(tmp_path)
    said = say(*argv)
    assert "an empty path or URL names nothing" in said
    assert sorted(path.name for path in Path("/").iterdir()) == before
    assert len(list(photos.iterdir())) == 3
