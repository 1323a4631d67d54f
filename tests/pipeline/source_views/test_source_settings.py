"""Flags that say how a source is read, as plain alternatives to what stands behind `#` in its address."""

from typing import Any

import pytest
from pydantic import ValidationError

from jobs.framework.registry import NAMES, load
from jobs.framework.settings import resolve
from model.core.errors import MaepressError
from pipeline.encode.settings import EncodeSettings
from pipeline.release.settings import ReleaseSettings
from pipeline.sources.settings import SidecarChoice, SourceView
from pipeline.train.settings import TrainSettings
from pipeline.verify.settings import VerifySettings

FLAGS: list[tuple[str, dict[str, Any], str]] = [
    ("s3://a/b", {}, "s3://a/b"),
    ("s3://a/b", {"members": "*.tar, x/*.zip"}, "s3://a/b#members=*.tar,%20x/*.zip"),
    ("s3://a/b", {"image_column": "im age"}, "s3://a/b#table&image=im%20age"),
    ("s3://a/b", {"image_column": "i", "key_column": "k"}, "s3://a/b#table&image=i&key=k"),
    ("s3://a/b", {"sidecars": "true"}, "s3://a/b#sidecars"),
    ("s3://a/b#sidecars", {"sidecars": True}, "s3://a/b#sidecars"),
    ("s3://a/b#sidecars", {"members": "*.tar"}, "s3://a/b#members=*.tar&sidecars"),
    ("s3://a/b", {"members": "*.tar", "sidecars": True}, "s3://a/b#members=*.tar&sidecars"),
    ("s3://a/b#members", {"members": "*.tar"}, "s3://a/b#members=*.tar"),
    ("s3://a/b#table=*.pq&key=k", {"image_column": "i"}, "s3://a/b#table=*.pq&key=k&image=i"),
    ("s3://a/b#table&image=i", {"image_column": "i", "sidecars": True}, "s3://a/b#table&image=i&sidecars"),
    ("s3://a/b#inventory=s3://l/n", {"sidecars": True}, "s3://a/b#inventory=s3://l/n&sidecars"),
]
CONFLICTS = [
    ("s3://a/b#members=*.zip", {"members": "*.tar"}, "--members *.tar contradicts s3://a/b#members=*.zip"),
    ("s3://a/b#table&image=x", {"image_column": "i"}, "--image-column i contradicts"),
    ("s3://a/b#table&key=x", {"key_column": "i"}, "--key-column i contradicts"),
    ("s3://a/b#members", {"key_column": "i"}, "--key-column does not fit s3://a/b#members, which has #members"),
    ("s3://a/b#frames=30", {"members": "*"}, "--members does not fit"),
    ("s3://a/b#frames=30", {"sidecars": True}, "--sidecars does not fit"),
    ("s3://a/b#urls", {"sidecars": True}, "--sidecars does not fit s3://a/b#urls: #urls has none"),
    (
        "s3://a/b",
        {"members": "*", "image_column": "i"},
        "--members is for archive files, and --image-column for tables",
    ),
    ("s3://a/b#members&x=1", {"members": "*"}, "#members has no option 'x'"),
]


@pytest.mark.parametrize("source, flags, address", FLAGS)
def test_flags_are_what_an_address_says(source: str, flags: dict[str, Any], address: str) -> None:
    made = EncodeSettings.model_validate({"source": source, "archive": "out"} | flags)
    assert made.source == address
    again = EncodeSettings.model_validate(made.model_dump())  # as a submitted job does
    assert again == made


@pytest.mark.parametrize("source, flags, message", CONFLICTS)
def test_a_flag_and_an_address_that_contradict_each_other_are_refused(
    source: str, flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as found:
        ReleaseSettings.model_validate({"source": source, "archive": "out"} | flags)
    assert message in str(found.value)
    with pytest.raises(MaepressError) as line:
        resolve(EncodeSettings, {"source": source, "archive": "out"} | flags, environ={})
    assert message in line.value.message and "\n" not in line.value.message


def test_every_job_that_takes_a_source_has_them() -> None:
    taking = {name: load(name).settings().model_fields for name in NAMES}  # type: ignore[attr-defined]
    taking = {name: fields for name, fields in taking.items() if {"source", "images"} & set(fields)}
    assert {"encode", "sync", "estimate", "verify", "release", "browse", "train", "tune", "evaluate"} <= set(taking)
    for name, fields in taking.items():
        assert set(SourceView.model_fields) <= set(fields), name
    for name in ("encode", "sync", "verify", "release"):
        assert set(SidecarChoice.model_fields) <= set(taking[name]), name


def test_images_of_a_training_and_an_optional_source_have_them_too() -> None:
    made = TrainSettings.model_validate({"images": "in", "out": "x", "max_steps": 1, "members": "*.tar"})
    assert made.images == "in#members=*.tar"
    assert VerifySettings.model_validate({"archive": "a"}).source is None
    with pytest.raises(ValidationError, match="--members needs a source"):
        VerifySettings.model_validate({"archive": "a", "members": "*.tar"})
