"""`maepress release` and `maepress forget` as a person types them: consent, what is printed, exit status."""

import io
import json
from pathlib import Path

import pytest

from jobs.cli import main
from pipeline.archive.archive import Archive
from pipeline.storage.open import open_target
from tests.pipeline.making import add, original


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """A source of three files, one of which has changed since, and its archive."""
    source, archive = open_target(str(tmp_path / "source")), Archive.create(str(tmp_path / "archive"))
    for key in "abc":
        source.put(key, key.encode())
    etags = {entry.key: entry.etag for entry in source.entries()}
    add(archive, [original(key, key.encode(), etag=etags[key]) for key in "abc"])
    source.put("c", b"another")
    return source.url, archive.url


def there(source: str) -> list[str]:
    return sorted(path.name for path in Path(source).iterdir())


def test_a_release_asks_before_it_deletes(
    folders: tuple[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, archive = folders
    assert main(["release", source, archive, "--quiet"]) == 1
    said = capsys.readouterr().out
    assert "2 originals can go (2 B), 1 did not pass; --delete deletes them" in said
    assert "the object is not the one that was encoded" in said
    assert main(["release", source, archive, "--delete", "--quiet"]) == 2
    assert "add --yes if that is what you want" in capsys.readouterr().err
    for answer, status in (("n\n", 2), ("y\n", 1)):
        typed = io.StringIO(answer)
        monkeypatch.setattr(typed, "isatty", lambda: True)
        monkeypatch.setattr("sys.stdin", typed)
        assert there(source) == ["a", "b", "c"]
        assert main(["release", source, archive, "--delete", "--quiet"]) == status
    assert there(source) == ["c"] and "2 originals deleted (2 B)" in capsys.readouterr().out
    assert main(["status", archive]) == 0
    assert "originals released" in capsys.readouterr().out


def test_an_object_under_a_released_key_is_named_every_night(
    folders: tuple[str, str], tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, archive = folders
    main(["release", source, archive, "--delete", "--yes", "--quiet", "--keys", "[ab]"])
    (Path(source) / "c").unlink()
    (Path(source) / "a").write_bytes(b"somebody else's")
    night = ["--source", source, "--archive", archive, "--model", str(tiny_model_folder), "--retire-share", "1"]
    assert main(["sync", *night, "--executor", "local", "--quiet"]) == 1
    said = capsys.readouterr().err
    assert "1 objects were not encoded, as their keys belong to images whose originals were released: 'a'" in said
    assert [row.key for row in Archive.open(archive).rows_by_key()] == ["a", "b"]
    assert main(["release", source, archive, "--withdraw", "--keys", "a", "--yes"]) == 0
    assert "1 releases withdrawn" in capsys.readouterr().out


def test_an_erasure_asks_and_tells_what_it_did(folders: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    _, archive = folders
    assert main(["forget", archive, "--keys", "a", "--dry-run"]) == 0
    assert "1 keys would be erased" in capsys.readouterr().out
    assert main(["forget", archive, "--keys", "a"]) == 2
    assert "add --yes" in capsys.readouterr().err
    assert main(["forget", archive, "--keys", "a", "--yes", "--json"]) == 0
    receipt = json.loads(capsys.readouterr().out)["receipt"]
    assert (receipt["images"], receipt["state"]) == (1, "done")
    assert main(["forget", archive, "--keys", "nothing*", "--yes"]) == 2
    assert main(["status", archive]) == 0
    assert "erased" in capsys.readouterr().out
