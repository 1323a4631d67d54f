"""The layouts of an export beside plain files: where a file goes, and the name of its sample.

| layout | what is written | a sample is |
|---|---|---|
| `files` | DEST/KEY | a file |
| `imagefolder` | DEST/LABEL/NAME, the label being the key's last folder | a file |
| `webdataset` | DEST/images-000000.tar ... | the members NAME.SUFFIX and NAME.json |
| `parquet` | DEST/images-000000.parquet ... | a row |

Names are made of whole keys, with what would change their meaning percent-encoded, so that no two keys get one name.
"""

import re
from dataclasses import dataclass
from typing import Literal

from model.core.boundary import Fault, attempt
from model.core.errors import MaepressError
from pipeline.archive.reader import Row
from pipeline.decode.result import Outcome
from pipeline.images.image_writer import SUFFIXES
from pipeline.sources.sidecars.meta import label_in

Layout = Literal["files", "imagefolder", "webdataset", "parquet"]
PACKED = ("webdataset", "parquet")
"""Layouts in which many images share one file."""
_LISTS = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Files that readers of an ImageFolder take for the list of its images: others are then not read, or read twice."""
_SUFFIX = re.compile(r"\.([A-Za-z0-9]{1,8})$")


@dataclass(frozen=True, slots=True)
class Packed:
    """One image of a packed layout, on its way into a shard.

    Attributes:
        outcome: what becomes of it if its shard is written.
        data: its file.
        width: of the image; 0 for a file that is none.
        height: likewise.
        source_sha256: of its source.
        modified_ns: time of its source, None where that is unknown.
        meta: its labels and sidecars, None where there are none or they are not asked for.
    """

    outcome: Outcome
    data: bytes
    width: int
    height: int
    source_sha256: str
    modified_ns: int | None
    meta: str | None = None

    @classmethod
    def of(cls, outcome: Outcome, data: bytes, row: Row, *, sidecars: bool = False) -> "Packed":
        """The image of a row."""
        width, height = (row["width"], row["height"]) if row["width"] else (0, 0)
        meta = row["meta"] if sidecars else None
        return cls(outcome, data, width, height, row["source_sha256"], row["source_modified_ns"], meta)

    @property
    def label(self) -> str:
        """The class of the image: that in its meta, or its folder."""
        found = attempt(lambda: label_in(self.meta))
        return label_of(self.outcome.key) if isinstance(found, Fault) or found is None else found


def label_of(key: str) -> str:
    """The last folder of a key; empty for a key without one."""
    return key.rpartition("/")[0].rpartition("/")[2]


def name_in_class_folder(name: str) -> str:
    """`2024/cat/a.jpg` as `cat/2024%2Fa.jpg`, and `cat/metadata.csv` as `cat/metadata%2Ecsv`.

    Raises:
        MaepressError: for a name without a folder.
    """
    folders, _, last = name.rpartition("/")
    above, slash, label = folders.rpartition("/")
    if not label:
        raise MaepressError("its key has no folder that could be its label")
    name = _encoded(above + slash, "%/") + _encoded(last, "%")
    return f"{label}/{_encoded(name, '.') if name in _LISTS else name}"


def sample_name(key: str) -> str:
    """A name without dots in its last part: readers of WebDataset take the rest of a name for its kind.

    No name leads out of a folder, wherever its tar file is unpacked.
    """
    *folders, last = key.split("/")
    parts = ["%" + part if part in ("", ".", "..") else _encoded(part, "%") for part in folders]
    return "/".join([*parts, _encoded(last, "%.") or "%"])


def suffix_of(form: str, key: str) -> str:
    """The suffix of a sample without its dot: of its format, else the key's own."""
    if form in SUFFIXES:
        return SUFFIXES[form].removeprefix(".")
    found = _SUFFIX.search(key)
    return found[1].lower() if found else "bin"


def _encoded(text: str, characters: str) -> str:
    return "".join(f"%{ord(c):02X}" if c in characters or c < " " else c for c in text)
