"""Globs of keys, and the one-to-one relation of keys and file names."""

import pytest
from pydantic import ValidationError

from pipeline.storage.keys import problem_with
from pipeline.storage.listing.key_globs import KeyGlobs, SourceChoice
from pipeline.storage.local_names import key_of, path_of


@pytest.mark.parametrize(
    ("glob", "chosen", "not_chosen"),
    [
        ("*.mov", ["a.mov", "x/y/b.mov", ".mov"], ["a.MOV", "a.mov/b", "a.movx"]),
        (".DS_Store", [".DS_Store", "a/.DS_Store"], ["a.DS_Store", "xDS_Store"]),
        ("@eaDir/", ["@eaDir/a", "x/@eaDir/y/z"], ["@eaDir", "x@eaDir/a"]),
        ("2023/*.jpg", ["2023/a.jpg"], ["2023/x/a.jpg", "x/2023/a.jpg"]),
        ("2023/**", ["2023/a", "2023/x/y"], ["2023", "x/2023/a"]),
        ("2023/x/", ["2023/x/a", "2023/x/y/z"], ["2023/xa", "a/2023/x/b"]),
        ("**/thumbs/*.jpg", ["thumbs/a.jpg", "x/y/thumbs/a.jpg"], ["thumbs/x/a.jpg"]),
        ("/top.jpg", ["top.jpg"], ["x/top.jpg"]),
        ("[jJ]?[!x].a", ["Jab.a", "q/jzz.a"], ["jax.a", "kab.a", "j/b.a"]),
        ("**", ["a", "a/b\nc"], []),
        ("a.b+(c)", ["a.b+(c)"], ["aXb+(c)", "a.bb(c)"]),
    ],
)
def test_a_glob_chooses(glob: str, chosen: list[str], not_chosen: list[str]) -> None:
    globs = KeyGlobs(include=(glob,))
    assert [key for key in (*chosen, *not_chosen) if globs.chooses(key)] == chosen
    assert [key for key in (*chosen, *not_chosen) if KeyGlobs(exclude=(glob,)).chooses(key)] == not_chosen


def test_exclude_wins_and_a_text_is_divided_at_commas() -> None:
    globs = SourceChoice.model_validate({"include": "*.jpg, *.png", "exclude": ["raw/", "b.*,c.*"]}).globs()
    assert [key for key in ("a.jpg", "a.png", "b.jpg", "raw/a.jpg", "a.gif") if globs.chooses(key)] == [
        "a.jpg",
        "a.png",
    ]
    assert SourceChoice().globs().everything


@pytest.mark.parametrize("glob", ["/", "//", "[z-a]", 7])
def test_what_is_no_glob_is_refused(glob: object) -> None:
    with pytest.raises(ValidationError):
        SourceChoice.model_validate({"exclude": [glob]})


NAMES = [
    b"a",
    b"\xe9",
    b"\xe9E9",
    b"\xc3\xa9",
    b"\xef\xbf\xbd",
    b"\xef\xbf\xbdE9",
    b"\xef\xbf\xbd\xe9",
    b"\xff\xfe/\x80",
]


def test_every_file_name_has_one_key_and_back() -> None:
    keys = [key_of(name.decode("utf-8", "surrogateescape")) for name in NAMES]
    assert len(set(keys)) == len(NAMES)
    assert [path_of(key).encode("utf-8", "surrogateescape") for key in keys] == NAMES
    for key in keys:
        key.encode()
        assert problem_with(key) is None


@pytest.mark.parametrize("key", ["\ufffdC3\ufffdA9", "\ufffdEF\ufffdBF\ufffdBD", "\ufffdE9\ud800"])
def test_a_key_that_would_take_the_name_of_another_key_is_refused(key: str) -> None:
    assert problem_with(key) is not None
    assert problem_with("\ufffd2F") is None and path_of("\ufffd2F..\ufffd00") == "\ufffd2F..\ufffd00"
