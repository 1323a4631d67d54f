"""The column `meta`: every file in it comes back byte for byte, and hostile ones are held as text or bytes."""

import json

import duckdb
import pytest

from pipeline.sources.sidecars.meta import MAX_BYTES, TOO_LARGE, Meta, files_of, label_in, without_files

FILES = {
    "json": b'{"n": 1.10, "n": 2,\r\n "big": 123456789012345678901234567890}\n',
    "jpg.json": b" [1 ,2]  ",
    "txt": "ein Bär\n".encode(),
    "cls": b"3",
    "xmp": b"\xef\xbb\xbf<x:xmpmeta/>",
    "jpg.xmp": "<x/>".encode("utf-16"),
    "a.json": b'{"broken": ',
    "b.json": b'{"a": NaN}',
    "c.json": b"1e999",
    "d.json": b'"\\ud800"',
    "e.json": b"[" * 100_000,
    "f.json": b"\xef\xbb\xbf{}",
    "g.json": b"\xff\xfe",
    "h.json": b"",
    "i.txt": b"a\0b",
}


def made(**files: bytes) -> str:
    meta = Meta()
    meta.label("cat")
    for name, data in files.items():
        meta.file(name, data)
    text = meta.text()
    assert text is not None
    return text


def test_files_come_back_byte_for_byte_whatever_they_hold() -> None:
    text = made(**FILES)
    assert files_of(text) == FILES
    assert label_in(text) == "cat" and without_files(text) is None
    held = json.loads(text)
    assert set(held["json"]) == {"json", "jpg.json"} and set(held["base64"]) == {"jpg.xmp", "g.json", "i.txt"}


def test_sql_reads_into_it() -> None:
    text = made(json=b'{"caption": "a cat", "deep": {"er": [1, 2]}}', txt=b"b", **{"b.json": b'{"a": NaN}'})
    query = "SELECT m->'json'->'json'->>'caption', m->'text'->>'txt', m->>'label' FROM (SELECT $m::JSON m)"
    found = duckdb.execute(query, {"m": text}).fetchall()
    assert found == [("a cat", "b", "cat")]


def test_what_is_too_large_is_left_out_and_named() -> None:
    meta = Meta()
    meta.label("cat")
    meta.part("columns", json.dumps("x" * MAX_BYTES))
    meta.part("metadata", json.dumps({"y": 1}))
    assert json.loads(meta.text() or "") == {"label": "cat", "metadata": {"y": 1}, "left_out": {"columns": TOO_LARGE}}
    assert Meta().text() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a":1', '{"a":1}x', '{"a" 1}', "[" * 9000, '{"text":{"a":1}}'])
def test_what_is_no_meta_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        files_of(text)
