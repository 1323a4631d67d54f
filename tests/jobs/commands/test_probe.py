"""The probe command: reports for people, JSON for scripts."""

import json

import pytest

from jobs.cli import main
from pipeline.archive.archive import Archive


def test_a_probe_prints_both_reports_and_what_they_took(
    small_archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", small_archive.url, "--keys", "[abc]/*", "--epochs", "2", "--held-out", "0.4", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.count("precision") == out.count("macro avg") == out.count("weighted avg") == 2
    assert "from latents (prefix)" in out and "from decoded pixels" in out
    assert "s of processor time" in out and "multiply-adds per image" in out


def test_a_probe_is_json_for_scripts(small_archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--label-from-key", "^([abc])", "--content", "sketch", "--no-pixels", "--epochs", "1", "--held-out", "0.4"]
    assert main(["probe", small_archive.url, *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pixels"] is None and found["classes"] == {"a": 10, "b": 10, "c": 10}
    assert found["latents"]["report"]["classes"]["a"]["support"] > 0


def test_a_rule_without_labels_is_answered_in_one_line(
    small_archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", small_archive.url, "--label-from-key", "(nothing)", "--content", "sketch", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("maepress: --label-from-key (nothing) finds no label") and error.count("\n") == 1
