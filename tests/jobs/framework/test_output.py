"""Keys and reasons are data: none of their characters is markup, begins a line or commands a terminal."""

import json
import logging
from datetime import datetime
from typing import NoReturn

import pytest

from jobs.framework.job import MISTAKE, guard, log_format
from jobs.framework.output import Output, complain
from model.core.errors import MaepressError
from pipeline.archive.receipt import Rejection
from pipeline.monitoring.formatting import printable
from pipeline.monitoring.log import RunLog, to_standard_error
from pipeline.probe.class_report import Report, Score

HOSTILE = {
    "IMG[/].jpg": "IMG[/].jpg",
    "[bold]IMG": "[bold]IMG",
    "[link=http://example.org]x[/link]": "[link=http://example.org]x[/link]",
    ":smile:": ":smile:",
    "\x1b[2J\x1b]0;title\x07": "\\x1b[2J\\x1b]0;title\\x07",
    "\x9b31mred": "\\x9b31mred",
    "a\rb\x08\x7f": "a\\rb\\x08\\x7f".replace("\\r", "\\x0d"),
    "a\nproblems 0": "a\\x0aproblems 0",
    "a\u2028b\u0085c": "a\\u2028b\\x85c",
    "invoice\u202egpj.exe": "invoice\\u202egpj.exe",
    "not UTF-8: \udcff": "not UTF-8: \\udcff",
    "Grüße/北京 👩\u200d🚀.jpg": "Grüße/北京 👩\u200d🚀.jpg",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_is_shown_as_it_is_and_does_nothing(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = HOSTILE[text]
    assert printable(text) == shown
    output = Output()
    output.table("failed", [(text, text)])
    output.table(text, [("key", 1)], ("", text))
    output.line(text.replace("\n", ""))
    output.progress(text.replace("\n", ""))
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[1].split("  ")[0] == shown and lines[1].count(shown) == 2
    assert captured.out.count(shown) >= (5 if "\n" not in text else 3)
    if "\n" not in text:
        assert captured.err == shown + "\n"
    everything = captured.out + captured.err
    assert all(c == "\n" or c == "\u200d" or c.isprintable() for c in everything)


def test_a_title_may_begin_with_an_empty_line(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table("\nrejected", [("a", 1)])
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [[], ["rejected"], ["a", "1"]]


@pytest.mark.parametrize("text", HOSTILE)
def test_an_error_that_names_a_key_is_one_harmless_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise MaepressError(f"the key {text} is bad")

    assert guard(fail) == MISTAKE
    shown = capsys.readouterr().err
    assert shown.startswith("maepress: the key ") and shown.count("\n") == 1
    assert all(c == "\u200d" or c.isprintable() for c in shown[:-1])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_logged_key_and_reason_stay_in_their_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    to_standard_error(True)
    try:
        RunLog("run").rejections([Rejection(text, "etag", "read", text)])
        RunLog("run").event("commit", place=text)
        logging.getLogger("maepress").info("not used for training: %s", text)
    finally:
        to_standard_error(False)
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 3
    assert all(c == "\u200d" or c.isprintable() for c in shown.replace("\n", ""))
    if HOSTILE[text] == text:
        assert shown.count(text) == 4


def missing() -> NoReturn:
    raise MaepressError("it is missing")


@pytest.mark.parametrize("text", HOSTILE)
def test_every_line_of_a_json_log_is_an_object_with_the_keys_as_they_are(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    to_standard_error(True, "json")
    try:
        RunLog("r1").rejections([Rejection(text, "etag", "read", text)])
        RunLog("r1").event("commit", shards=4, seconds=0.5)
        logging.getLogger("maepress").info("not used for training: %s", text)
        Output().progress(text)
        assert complain(text, None) == 1
        assert guard(missing) == MISTAKE
    finally:
        to_standard_error(False)
    shown = capsys.readouterr().err
    assert shown.isascii() and shown.replace("\n", "").isprintable()
    found = [json.loads(row) for row in shown.splitlines()]
    assert all(datetime.fromisoformat(row.pop("time")).tzinfo for row in found)
    assert found[0] == {"level": "WARNING", "run": "r1", "stage": "read", "key": text, "message": text}
    assert found[1] == {"level": "INFO", "run": "r1", "stage": "commit", "shards": 4, "seconds": 0.5}
    assert [row["level"] for row in found[2:]] == ["INFO", "INFO", "WARNING", "ERROR"]
    assert found[-1]["message"] == "it is missing"


@pytest.mark.parametrize(
    ("flag", "variable", "found"), [("json", "text", "json"), (None, "json", "json"), (None, "", "text")]
)
def test_the_format_of_the_log_comes_from_the_flag_then_from_the_environment(
    flag: str | None, variable: str, found: str
) -> None:
    assert log_format(flag, {"MAEPRESS_LOG_FORMAT": variable}) == found
    with pytest.raises(MaepressError, match=r"^--log-format xml: must be text or json$"):
        log_format("xml", {})


def test_classes_named_by_keys_are_shown_as_they_are() -> None:
    score = Score(1.0, 1.0, 1.0, 3)
    text = Report({"[bold]\x1b[2J": score, "b\nc": score}, 1.0, score, score).to_text()
    assert "[bold]\\x1b[2J " in text and "b\\x0ac " in text and "\x1b" not in text


def test_json_output_escapes_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).result({key: key for key in HOSTILE})
    text = capsys.readouterr().out
    assert text.isascii() and "\x1b" not in text
    assert json.loads(text) == {key: key for key in HOSTILE}
