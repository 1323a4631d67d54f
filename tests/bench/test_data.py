"""Benchmarks choose their images evenly, and name what is missing."""

from pathlib import Path

import pytest

from bench import data
from model.core.errors import MaepressError


def test_about_half_as_many_photographs_stand_beside_any_number_of_kodaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "DATA", tmp_path)
    monkeypatch.setattr(data, "KODAK", tmp_path / "kodak")
    for folder, count, suffix in (("kodak", 24, "png"), ("train/photos", data.PHOTOGRAPHS, "jpg")):
        (tmp_path / folder).mkdir(parents=True)
        for i in range(count):
            (tmp_path / folder / f"{i:02d}.{suffix}").touch()
    assert len(data.photographs(8)) == 8 + 5
    assert len(data.photographs(1)) == 1 + 1
    assert len(data.photographs(1000)) == 24 + data.PHOTOGRAPHS


def test_without_kodak_the_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "KODAK", tmp_path)
    with pytest.raises(MaepressError, match="MAEPRESS_DATA"):
        data.photographs(8)
