"""Two spellings of one place are one place."""

import os
from pathlib import Path

import pytest

from pipeline.storage.places import is_within, require_outside, store_at
from tests.pipeline.spellings import spellings


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "photos" / "2024").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_spelling_of_a_folder_is_that_folder(here: Path) -> None:
    photos = store_at("photos")
    for url in spellings(here / "photos"):
        assert store_at(url).place() == photos.place(), url
        assert is_within(store_at(url), photos) and is_within(photos, store_at(url)), url


def test_every_spelling_of_a_folder_holds_what_is_in_it_and_nothing_else(here: Path) -> None:
    for url in spellings(here / "photos"):
        for inside in ("photos/2024", "photos/not/made/yet", *spellings(here / "photos" / "2024")):
            assert is_within(store_at(inside), store_at(url)), (inside, url)
            assert not is_within(store_at(url), store_at(inside)), (url, inside)
        for outside in ("other", "photos-2", "photo", ".", "/", "s3://photos", "memory://photos"):
            assert not is_within(store_at(outside), store_at(url)), (outside, url)


def test_the_folder_that_one_is_in_holds_all_below_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here / "photos")
    for url in (".", "./", "../photos", "file://" + os.getcwd()):
        assert is_within(store_at("2024"), store_at(url)) and is_within(store_at("archive"), store_at(url))
    assert not is_within(store_at("../other"), store_at("."))


@pytest.mark.parametrize(
    "url",
    [
        "s3://b/photos",
        "s3://b/photos/",
        "S3://b/photos",
        "s3a://b/photos//",
        "s3://b//photos",
        "s3://b/photos#frames=30",
    ],
)
def test_every_spelling_of_a_prefix_is_that_prefix(url: str) -> None:
    assert store_at(url).place() == ("s3", "b", "photos")
    assert is_within(store_at("s3://b/photos//archive"), store_at(url)) and is_within(store_at(url), store_at("S3://b"))
    for outside in ("s3://b/photos-2", "s3://c/photos", "s3://b", "b/photos"):
        assert not is_within(store_at(outside), store_at(url)), outside


def test_schemes_of_one_file_system_are_one(tmp_path: Path) -> None:
    assert store_at(f"local://{tmp_path}").place() == store_at(tmp_path).place()
    assert store_at("MEMORY://x/y/").place() == store_at("memory://x/y").place()


def test_what_is_refused_is_named_with_the_reason(here: Path) -> None:
    with pytest.raises(Exception, match=r"the archive photos/2024 lies inside its source \./photos, as told: give"):
        require_outside(store_at("photos/2024"), "the archive", store_at("./photos"), "its source", "as told")
    with pytest.raises(Exception, match=r"the archive photos is its source \./photos, "):
        require_outside(store_at("photos"), "the archive", store_at("./photos"), "its source", "as told")
    require_outside(store_at("other"), "the archive", store_at("./photos"), "its source", "as told")
