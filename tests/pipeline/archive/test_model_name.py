"""Names of models: what people call them, beside a fingerprint that nobody chooses."""

import json
from pathlib import Path

import pytest

from model.core.model_files import BASE
from pipeline.archive.model_name import name_for, name_from, name_in, named
from pipeline.storage.open import open_store


def test_the_shipped_model_is_base_even_in_archives_that_hold_it_without_a_name() -> None:
    assert name_in(open_store(str(BASE))) == "base"
    fingerprint = json.loads((BASE / "config.json").read_text())["fingerprint"]
    assert name_from({"fingerprint": fingerprint, "notes": {}}) == "base"
    assert name_from({"fingerprint": "0" * 16, "notes": {}}) == ""


def test_a_name_stands_beside_the_fingerprint_and_never_for_it() -> None:
    assert named("photos", "80c93cac60fbff9c") == "photos 80c93cac60fbff9c"
    assert named("", "80c93cac60fbff9c") == "80c93cac60fbff9c"


@pytest.mark.parametrize("name", ["\x1b[31mred", "<b>", "a" * 41, " ", "", 3, None, "two\nlines", "trailing "])
def test_what_could_do_harm_is_no_name(name: object) -> None:
    assert name_from({"fingerprint": "0" * 16, "notes": {"name": name}}) == ""


@pytest.mark.parametrize("description", [None, [], "text", {}, {"notes": []}, {"notes": {"name": "n"}, "x": 1}])
def test_a_configuration_of_any_shape_has_a_name_or_none(description: object) -> None:
    assert name_from(description) in ("", "n")


def test_a_folder_without_a_readable_model_has_no_name(tmp_path: Path) -> None:
    assert name_in(open_store(str(tmp_path))) == ""
    (tmp_path / "config.json").write_text("[" * 10_000)
    assert name_in(open_store(str(tmp_path))) == ""


@pytest.mark.parametrize(
    ("place", "name"),
    [("models/photos", "photos"), ("s3://bucket/my models/2024!/", "2024"), ("/tmp/***", ""), ("x" * 60, "x" * 40)],
)
def test_a_model_is_named_after_its_place(place: str, name: str) -> None:
    assert name_for(place) == name
    assert not name or name_from({"notes": {"name": name}}) == name
