"""Flags, file and environment become one settings object; mistakes become one line."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model, field_validator

from jobs.framework.flags import Parser, add_fields, core_type
from jobs.framework.registry import NAMES, load
from jobs.framework.settings import redact, resolve
from model.core.errors import MaepressError


class Sample(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="where from")
    quality: int = Field(44, ge=0, le=63, description="how good")
    level: int = Field(0, ge=0, lt=64, description="how deep")
    share: float = Field(0.5, gt=0, lt=1, description="how much")
    max_minutes: float | None = Field(None, gt=0, description="how long")
    format: Literal["png", "jpeg"] = Field("png", description="which kind")
    resume: bool = Field(True, description="go on")
    actors: str = Field("1:2", description="how many")

    @field_validator("actors")
    @classmethod
    def _ordered(cls, value: str) -> str:
        low, _, high = value.partition(":")
        if int(low) > int(high):
            raise ValueError("MIN must not be above MAX")
        return value


def parse(*argv: str) -> dict[str, object]:
    parser = Parser(prog="maepress sample", allow_abbrev=False)
    add_fields(parser, Sample, ("source",), {})
    return vars(parser.parse(argv))


def settings(*argv: str, config: Path | None = None, environ: dict[str, str] | None = None) -> Sample:
    return resolve(
        Sample, parse(*argv), positionals=("source",), config=str(config) if config else None, environ=environ or {}
    )


def mistake(*argv: str, config: Path | None = None, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(MaepressError) as caught:
        settings(*argv, config=config, environ=environ)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("quality: 30\nmax-minutes: 2\n")
    return path


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_file(config: Path) -> None:
    environ = {"MAEPRESS_QUALITY": "20", "MAEPRESS_SHARE": "0.25"}
    chosen = settings("photos", "--quality", "40", config=config, environ=environ)
    assert (chosen.quality, chosen.max_minutes, chosen.share, chosen.format) == (40, 2.0, 0.25, "png")
    assert settings("photos", config=config, environ=environ).quality == 20
    assert settings("photos", config=config).quality == 30
    assert settings("photos").quality == 44


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_of_every_command_comes_from_flag_then_environment_then_file(name: str, tmp_path: Path) -> None:
    job = load(name)
    kind: type[BaseModel] = job.settings()  # type: ignore[assignment]  # each job has its own settings class
    fields = [(field, core_type(info)) for field, info in kind.model_fields.items()]
    assert fields
    file = tmp_path / "all.yaml"
    parser, path = job.parser(80), str(file)
    for field, type_ in fields:
        if type_ not in (str, int, float, bool):
            continue  # choices and lists are texts to these layers
        low, middle, high = (False, True, False) if type_ is bool else ("11", "22", "33")
        file.write_text(f"{field}: {low}\n")
        flag = "--" + field.replace("_", "-")
        given = ["--no-" + flag[2:] if type_ is bool else f"{flag}={high}"]
        if field in job.positionals:
            given = [str(high)] * (job.positionals.index(field) + 1)
        flags = {field: vars(parser.parse(given))[field]}
        environ = {f"MAEPRESS_{field.upper()}": str(middle)}
        only: type[BaseModel] = create_model("Only", **{field: (object, None)})  # type: ignore[call-overload]
        read = [
            getattr(resolve(only, layers, config=path, environ=variables), field)
            for layers, variables in (({}, {}), ({}, environ), (flags, environ))
        ]
        assert [str(value) for value in read] == [str(low), str(middle), str(high)], (name, field)


def test_a_positional_may_come_from_the_file_or_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("source: from-file\n")
    assert settings(config=path).source == "from-file"
    assert settings(environ={"MAEPRESS_SOURCE": "from-environment"}).source == "from-environment"
    assert settings("typed", config=path).source == "typed"


def test_a_boolean_has_a_flag_and_its_opposite() -> None:
    assert settings("photos", "--no-resume").resume is False
    assert settings("photos", "--resume", environ={"MAEPRESS_RESUME": "false"}).resume is True


def test_an_empty_variable_counts_as_not_set() -> None:
    assert settings("photos", environ={"MAEPRESS_QUALITY": ""}).quality == 44


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["photos", "--quality", "99"], "--quality 99: must be at most 63"),
        (["photos", "--quality", "-1"], "--quality -1: must be at least 0"),
        (["photos", "--quality", "high"], "--quality high: must be a whole number"),
        (["photos", "--quality", "4.5"], "--quality 4.5: must be a whole number"),
        (["photos", "--level", "64"], "--level 64: must be at most 63"),
        (["photos", "--share", "0"], "--share 0: must be above 0"),
        (["photos", "--share", "1"], "--share 1: must be below 1"),
        (["photos", "--share", "half"], "--share half: must be a number"),
        (["photos", "--format", "gif"], "--format gif: must be png or jpeg"),
        (["photos", "--actors", "5:2"], "--actors 5:2: MIN must not be above MAX"),
        ([], "SOURCE is missing (or `source:` in the --config file, or MAEPRESS_SOURCE)"),
    ],
)
def test_a_bad_value_is_answered_with_what_is_allowed(argv: list[str], line: str) -> None:
    assert mistake(*argv) == line


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--qualty", "3"], "unknown option --qualty: did you mean --quality?"),
        (["--zzz"], "unknown option --zzz"),
        (["--zzz=password"], "unknown option --zzz "),
        (["photos", "more"], "unexpected argument 'more'"),
        (["--quality"], "--quality: expected one argument"),
        (["--qual", "3"], "unknown option --qual"),
    ],
)
def test_a_bad_command_line_is_answered_without_a_usage(argv: list[str], line: str) -> None:
    with pytest.raises(MaepressError) as caught:
        parse(*argv)
    assert str(caught.value).startswith(line)
    assert str(caught.value).endswith("(see `maepress sample --help`)")
    assert "password" not in str(caught.value)


def test_the_message_says_which_file_or_variable_a_bad_value_came_from(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("quality: 99\n")
    assert mistake("photos", config=path) == f"quality: 99 in {path}: must be at most 63"
    assert mistake("photos", environ={"MAEPRESS_QUALITY": "99"}) == "MAEPRESS_QUALITY=99: must be at most 63"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("qualtiy: 3\n", "unknown setting 'qualtiy'"),
        ("- a\n- b\n", "needs `name: value` lines, not a list"),
        ("quality: [1\n", "not YAML"),
        ("\x00", "not YAML"),
        ("quality: 3\nquality: 5\n", "'quality' is there twice"),
        ("max-minutes: 3\nmax_minutes: 5\n", "'max_minutes' is there twice"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert mistake("photos", config=path).startswith(f"--config {path}: {line}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("quality: yes", "quality: True in {path}: must be a whole number"),
        ("level: false", "level: False in {path}: must be a whole number"),
        ("share: on", "share: True in {path}: must be a number"),
        ("max-minutes: yes", "max_minutes: True in {path}: must be a number"),
        ("actors: 1:2", "actors: 62 in {path}: must be text: put it in quotes"),
        ("actors: [a]", "actors: ['a'] in {path}: must be text"),
    ],
)
def test_a_value_of_another_type_in_a_file_is_answered_with_the_one_it_needs(
    tmp_path: Path, text: str, line: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert mistake("photos", config=path) == line.format(path=path)
    path.write_text("resume: no")
    assert settings("photos", config=path).resume is False


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert (
        mistake("photos", config=tmp_path / "absent.yaml")
        == f"--config {tmp_path}/absent.yaml: No such file or directory"
    )


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("# nothing yet\n")
    assert settings("photos", config=tmp_path / "run.yaml").quality == 44


def test_credentials_in_a_url_are_not_repeated() -> None:
    assert redact("s3://key:secret@bucket/a and http://u@h") == "s3://***@bucket/a and http://***@h"
    assert redact("s3://bucket/a@b") == "s3://bucket/a@b"


def test_the_help_gives_ranges_and_defaults() -> None:
    parser = Parser(prog="maepress sample")
    add_fields(parser, Sample, ("source",), {"actors": "MIN:MAX"})
    text = " ".join(parser.format_help().split())
    assert "--quality N how good [0 to 63; default 44]" in text
    assert "--level N how deep [0 to 63; default 0]" in text
    assert "--share X how much [above 0, below 1; default 0.5]" in text
    assert "--format png|jpeg which kind [default png]" in text
    assert "--actors MIN:MAX" in text
    assert "--resume, --no-resume go on [default yes]" in text


@pytest.mark.parametrize("name", NAMES)
def test_no_job_takes_an_infinite_number(name: str) -> None:
    """`--hours inf` and `--max-megapixels inf` ended in a traceback, as no whole number is that large."""
    settings = load(name).settings()
    assert issubclass(settings, BaseModel) and settings.model_config.get("allow_inf_nan") is False
