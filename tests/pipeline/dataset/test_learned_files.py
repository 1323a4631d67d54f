"""Which files a model has learned from: found again by name and size, and never listed."""

import base64
import zlib

import pytest

from pipeline.dataset.learned_files import FILES, FILTER, LearnedFiles
from pipeline.storage.base import Entry


def files(first: int, last: int, folder: str = "") -> list[Entry]:
    return [Entry(f"{folder}{i}.jpg", 1000 + i, "") for i in range(first, last)]


def test_files_are_found_again_wherever_they_lie_and_others_are_not() -> None:
    known = LearnedFiles().with_files(files(0, 300, "photos/"))
    assert known.known_among(files(100, 400, "elsewhere/2024/")) == 200
    assert known.known_among(files(300, 2000)) == 0
    assert known.known_among([Entry("0.jpg", 999, "")]) == 0, "a file of another size is another file"


def test_a_model_that_goes_on_from_another_knows_its_files_too() -> None:
    known = LearnedFiles().with_files(files(0, 10)).with_files(files(10, 20))
    assert (known.count, known.known_among(files(0, 20))) == (20, 20)


def test_a_note_is_small_and_says_the_same() -> None:
    known = LearnedFiles().with_files(files(0, 1000))
    note = known.to_note()
    assert LearnedFiles.from_note(note) == known
    assert len(str(note[FILTER])) < 7_000
    assert "jpg" not in str(note)


def test_a_filter_that_is_too_full_to_tell_says_nothing_by_chance() -> None:
    known = LearnedFiles().with_files(files(0, 100_000))
    assert len(str(known.to_note()[FILTER])) < 90_000
    assert known.known_among(files(200_000, 202_000)) == 0, "8 % of these are there by chance"
    assert known.known_among(files(50_000, 50_100)) == 100


@pytest.mark.parametrize(
    "note",
    [
        None,
        [],
        "text",
        {FILES: 3},
        {FILES: "3", FILTER: ""},
        {FILES: 3, FILTER: "%%%"},
        {FILES: 3, FILTER: base64.b64encode(b"no zlib").decode()},
        {FILES: 3, FILTER: base64.b64encode(zlib.compress(b"short")).decode()},
        {FILES: -1, FILTER: LearnedFiles().to_note()[FILTER]},
        {FILES: 3, FILTER: "A" * 10_000_000},
        {FILES: 3, FILTER: base64.b64encode(zlib.compress(bytes(10_000_000))[:9000]).decode()[:-3]},
    ],
)
def test_what_is_no_note_holds_no_files(note: object) -> None:
    assert LearnedFiles.from_note(note) == LearnedFiles()
