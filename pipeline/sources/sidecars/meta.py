"""The column `meta`: what a source knows of an image beside its file, as one JSON object.

    label      class: the name of the image's folder, or of its ClassLabel in a table
    json       sidecar files that are JSON, as they are: {"json": {"caption": "a cat"}}
    text       other sidecar files in UTF-8: {"txt": "a cat", "cls": "3"}
    base64     sidecar files that are neither
    metadata   its row of a metadata.jsonl or metadata.csv
    coco       what each COCO file says of it: [{"file", "image", "annotations", "categories"}]
    columns    the other columns of its row in a table
    left_out   what could not be held, and why: {"coco": "it is larger than 256 KiB"}

A sidecar file is named by what follows the image's name without its suffix: `json` is `a.json`, and
`jpg.json` is `a.jpg.json`. JSON is copied as it was written, spaces and digits included, so that
each file comes back byte for byte, and SQL reads into it.
"""

import base64
import json
import math
import re
from collections.abc import Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]  # its stubs lack it
from typing import Any, NoReturn

MAX_BYTES = 256 << 10
"""Longest part of a meta that is no file, in bytes: the images of a shard have to fit into memory."""
MAX_FILE = 64 << 10
"""Largest file that is taken for a sidecar, in bytes; others stay objects of their own."""
MAX_DEPTH = 64
"""Levels of brackets that JSON may have to be taken as JSON."""
LABEL, JSON, TEXT, BASE64, METADATA, COCO, COLUMNS, LEFT_OUT = (
    *("label", "json", "text", "base64"),
    *("metadata", "coco", "columns", "left_out"),
)
_FILES = (JSON, TEXT, BASE64)
TOO_LARGE = f"it is larger than {MAX_BYTES >> 10} KiB"

_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_SPACE = re.compile(r"[ \t\n\r]*")


def is_json(text: str) -> bool:
    """Whether a text is JSON that any reader takes: not too deep, finite numbers, whole characters."""
    if depth_of(text) > MAX_DEPTH:
        return False
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:  # UnicodeEncodeError for half a character is one
        return False
    return True


def depth_of(text: str) -> int:
    """The deepest level of brackets outside of strings."""
    deepest = level = 0
    for found in _STRUCTURE.finditer(text):
        if found[0] in "[{":
            level += 1
            deepest = max(deepest, level)
        elif found[0] in "]}":
            level -= 1
    return deepest


def object_of(members: Mapping[str, str]) -> str:
    """A JSON object of values that are JSON texts, which stay as they are."""
    return "{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{text}" for name, text in members.items()) + "}"


def members_of(text: str) -> dict[str, str]:
    """The values of a JSON object as the texts they were, by name.

    Raises:
        ValueError: when it is no JSON object, or too deep.
    """
    if depth_of(text) > MAX_DEPTH + 2:
        raise ValueError("its meta is too deep")
    found: dict[str, str] = {}
    decoder = json.JSONDecoder()
    at = _expect(text, _skip(text, 0), "{")
    while text[at : at + 1] != "}":
        name, at = scanstring(text, _expect(text, at, '"'), True)
        start = _expect(text, _skip(text, at), ":")
        _, end = decoder.raw_decode(text, _skip(text, start))
        at = _skip(text, end)
        found[name] = text[start:at]
        if text[at : at + 1] != "}":
            at = _skip(text, _expect(text, at, ","))
    if _skip(text, at + 1) != len(text):
        raise ValueError("its meta is no JSON object")
    return found


class Meta:
    """Collects what belongs to one image.

    meta = Meta()
    meta.label("cat")
    meta.file("txt", b"a cat")
    meta.text()                     # '{"label":"cat","text":{"txt":"a cat"}}'
    """

    def __init__(self) -> None:
        self._parts: dict[str, str] = {}
        self._files: dict[str, dict[str, str]] = {}
        self._left_out: dict[str, str] = {}

    def label(self, name: str) -> None:
        """Set the class."""
        self._parts[LABEL] = json.dumps(name, ensure_ascii=False)

    def file(self, name: str, data: bytes) -> None:
        """Add a sidecar file. Args: name: what follows the image's name and a dot. data: its bytes."""
        form, value = _held(name, data)
        self._files.setdefault(form, {})[name] = value

    def part(self, name: str, text: str) -> None:
        """Set a part to a JSON text; one that is too large is left out."""
        if len(text.encode()) > MAX_BYTES:
            self.leave_out(name, TOO_LARGE)
        else:
            self._parts[name] = text

    def leave_out(self, name: str, reason: str) -> None:
        """Note that a part or a file is missing, and why."""
        self._left_out[name] = json.dumps(reason, ensure_ascii=False)

    def text(self) -> str | None:
        """The column's value; None where there is nothing."""
        parts = self._parts | {form: object_of(files) for form, files in self._files.items()}
        if self._left_out:
            parts[LEFT_OUT] = object_of(self._left_out)
        return object_of({name: parts[name] for name in _ORDER if name in parts}) if parts else None


_ORDER = (LABEL, JSON, TEXT, BASE64, METADATA, COCO, COLUMNS, LEFT_OUT)


def files_of(meta: str) -> dict[str, bytes]:
    """The sidecar files in a meta, byte for byte, by what follows the image's name and a dot.

    Raises:
        ValueError: when it is none.
    """
    parts = members_of(meta)
    found = {name: text.encode() for name, text in members_of(parts.get(JSON, "{}")).items()}
    for name, value in _texts(parts.get(TEXT)).items():
        found[name] = value.encode()
    for name, value in _texts(parts.get(BASE64)).items():
        found[name] = base64.b64decode(value, validate=True)
    return found


def without_files(meta: str) -> str | None:
    """The parts of a meta that are no files, as JSON; None where it has at most a label.

    Raises:
        ValueError: when it is none.
    """
    parts = {name: text for name, text in members_of(meta).items() if name not in _FILES}
    return object_of(parts) if parts.keys() - {LABEL} else None


def label_in(meta: str | None) -> str | None:
    """The label in a meta, None without one.

    Raises:
        ValueError: when it is none.
    """
    label = json.loads(members_of(meta).get(LABEL, "null")) if meta else None
    return label if isinstance(label, str) else None


def _held(name: str, data: bytes) -> tuple[str, str]:
    """The form in which a file is held, and its value as JSON text."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return BASE64, json.dumps(base64.b64encode(data).decode())
    if name.rpartition(".")[2].lower() == "json" and is_json(text):
        return JSON, text
    if _CONTROLS.search(text):  # which JSON writes in six characters each
        return BASE64, json.dumps(base64.b64encode(data).decode())
    return TEXT, json.dumps(text, ensure_ascii=False)


def _texts(part: str | None) -> dict[str, str]:
    found = json.loads(part or "{}")
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("its meta holds no files")
    return found


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _expect(text: str, at: int, what: str) -> int:
    if text[at : at + 1] != what:
        raise ValueError("its meta is no JSON object")
    return _skip(text, at + 1) if what == "{" else at + 1


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> Any:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value
