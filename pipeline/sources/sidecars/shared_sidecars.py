"""Files that say something of many images: `metadata.jsonl`, `metadata.csv` and COCO's annotations.

Each is read once per version, into an index on disk that the name of an image is looked up in.
"""

import io
import json
import re
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from model.core.boundary import Fault, attempt
from pipeline.sources.members.container_file import ContainerFile, FileReader, Unreadable
from pipeline.sources.members.member_index import Builder, Member, MemberIndex, TooManyMembers, index_of
from pipeline.sources.sidecars import coco_file, metadata_file
from pipeline.sources.sidecars.json_stream import BadJson
from pipeline.sources.sidecars.meta import COCO, METADATA
from pipeline.storage.base import FetchFailed, Outage, StorageError, Store

MAX_FILE = 8 << 30
"""Largest file that is read."""
_MAX_MEMBER = 512 << 20
"""Largest one inside another file, which is read as a whole."""
_OPEN = 64
"""Indexes that are open at once."""
_METADATA = {"metadata.jsonl": metadata_file.build_jsonl, "metadata.csv": metadata_file.build_csv}
_COCO = re.compile(
    r"annotations/[^/]+\.json|(?:.*/)?annotations/[^/]+\.json|(?:.*/)?"
    + (r"(?:annotations|labels|(?:instances|captions|person_keypoints)_[^/]+|[^/]*coco)\.json"),
    re.DOTALL,
)


def is_shared(key: str) -> bool:
    """Whether a key is that of a file that may say something of many images."""
    return key.rpartition("/")[2] in _METADATA or _COCO.fullmatch(key) is not None


@dataclass(frozen=True, slots=True)
class SharedFile:
    """One version of such a file.

    Attributes:
        key: of the file.
        etag: of the version.
        size: in bytes.
    """

    key: str
    etag: str
    size: int

    @property
    def part(self) -> str:
        """The part of a meta that it makes."""
        return METADATA if self.key.rpartition("/")[2] in _METADATA else COCO

    def folders(self) -> tuple[str, ...]:
        """The folders that its names of files may be meant from; each ends with "/" or is empty.

        A COCO file `annotations/instances_train2017.json` means `train2017/` or `images/train2017/` beside its folder.
        """
        folder, slash, name = self.key.rpartition("/")
        above = folder + slash
        if self.part == METADATA:
            return (above,)
        if folder == "annotations" or folder.endswith("/annotations"):
            above = folder.removesuffix("annotations")
        words = name.removesuffix(".json").split("_")
        subsets = ["_".join(words[start:]) for start in range(len(words))]
        below = [f"{place}{subset}/" for subset in subsets if subset for place in ("images/", "")]
        return tuple(above + part for part in (*below, "images/", "data/", ""))


class SharedSidecars:
    """The files of one listing of a source, and what they say of an image."""

    def __init__(self, store: Store, files: tuple[SharedFile, ...]) -> None:
        """Nothing is read yet. Args: store: the source without sidecars. files: those that were listed."""
        self._store = store
        self.files = files
        self._by_folder: dict[str, list[SharedFile]] = {}
        for file in files:
            for folder in file.folders():
                self._by_folder.setdefault(folder, []).append(file)
        self._indexes: OrderedDict[SharedFile, MemberIndex] = OrderedDict()
        self._lock = threading.Lock()

    def damage(self) -> Iterator[tuple[str, str]]:
        """Read all files that are not known yet: the keys of those that are not as they ought to be, and why.

        Raises:
            Outage: when one cannot be read at the moment: its images would lose what it says of them.
        """
        for file in self.files:
            if (reason := self._index(file).damage) is not None:
                yield file.key, reason

    def find(self, key: str) -> Iterator[tuple[SharedFile, Member]]:
        """What each file says of an image, as JSON in the member's place."""
        seen = set[SharedFile]()
        end = len(key)
        while end >= 0:  # the nearest folder first
            end = key.rfind("/", 0, end)
            for file in self._by_folder.get(key[: end + 1], ()):
                if file not in seen:
                    (member,) = self._index(file).find([key[end + 1 :]])
                    if member is not None:
                        seen.add(file)
                        yield file, member

    def _index(self, file: SharedFile) -> MemberIndex:
        with self._lock:
            if (found := self._indexes.get(file)) is not None:
                self._indexes.move_to_end(file)
                return found
            name = (self._store.absolute_url, "sidecars", file.key, file.etag)
            made = self._indexes[file] = index_of(name, lambda add: self._built(file, add))
            if len(self._indexes) > _OPEN:
                self._indexes.popitem(last=False)
            return made

    def _built(self, file: SharedFile, add: Builder) -> str | None:
        add.kind = file.part
        done = attempt(lambda: self._build(file, add), passes=(StorageError, sqlite3.Error))
        if not isinstance(done, Fault):
            return done
        if done.machine:
            raise Outage(f"{self._store.url}/{file.key} cannot be read: {done.reason}")
        return f"it is damaged: {done.reason}"

    def _build(self, file: SharedFile, add: Builder) -> str | None:
        inside = type(self._store).read_ranges is Store.read_ranges  # cannot be read in parts
        if file.size > (most := _MAX_MEMBER if inside else MAX_FILE):
            return f"it is larger than {most >> 20} MiB"
        reader = _METADATA.get(file.key.rpartition("/")[2], coco_file.build)
        try:
            with io.TextIOWrapper(self._opened(file, inside), "utf-8-sig", newline="") as text:
                return reader(text, add)
        except TooManyMembers:
            return "it has too many rows"
        except BadJson as e:
            return e.message
        except Unreadable as e:
            if e.failed.is_verdict:
                return e.failed.reason
            raise Outage(f"{self._store.url}/{file.key} cannot be read: {e.failed.reason}") from None

    def _opened(self, file: SharedFile, inside: bool) -> BinaryIO:
        if not inside:
            raw = FileReader(ContainerFile(self._store, file.key, file.etag))
            return cast(BinaryIO, io.BufferedReader(raw, 1 << 18))
        (got,) = self._store.fetch([file.key], _MAX_MEMBER)
        if isinstance(got, FetchFailed):
            raise Unreadable(got)
        return io.BytesIO(got.data)


def described(file: SharedFile, text: str) -> str:
    """What a COCO file says of an image, with its name in front."""
    return f'{{"file":{json.dumps(file.key, ensure_ascii=False)},{text[1:]}'
