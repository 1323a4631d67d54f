"""Folders that a job writes its results to: never one that holds something else under their names.

A small file marks a folder that a job made, so that the same job may go on there, or replace its
earlier results.

    OUT/maepress.json    {"made_by": "train"}
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.storage.base import StorageError, Store
from pipeline.storage.places import require_outside, store_at

MARK = "maepress.json"


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a job writes into a folder.

    Attributes:
        job: name of the job.
        files: names of its files.
        folders: names of its folders.
        typical: a file, and how it begins, that shows a folder of this job made before there were
            marks, or by a run that ended before it marked it; empty when there is none.
    """

    job: str
    files: tuple[str, ...]
    folders: tuple[str, ...] = ()
    typical: tuple[str, bytes] | None = None

    def require_free(self, images: str, out: Store, *, overwrite: bool) -> None:
        """Check that this job may write to a folder. Nothing is written.

        Args:
            images: URL of the images that the job reads.
            out: the folder; it need not exist.
            overwrite: allow a folder that holds something else.

        Raises:
            StorageError: when the folder lies in the images, or holds something else under the
                names of the job's files.
        """
        why = "where its files would be taken for images"
        require_outside(out, "the output folder", store_at(images), "the images", why)
        if overwrite or not out.root_exists() or self._is_own(out):
            return
        found = [name for name in self.files if out.exists(name)]
        found += [f"{name}/" for name in self.folders if _holds_something(out.child(name))]
        if found:
            raise StorageError(
                f"{out.url} holds {_listed(found)}, made by something else than `maepress {self.job}`: give another "
                "--out, or --overwrite to replace it"
            )

    def mark(self, out: Store) -> None:
        """Mark the folder as this job's, which also says that its files may be replaced."""
        out.put(MARK, (json.dumps({"made_by": self.job}) + "\n").encode())

    def _is_own(self, out: Store) -> bool:
        if out.exists(MARK):
            try:
                facts = json.loads(out.get(MARK))
            except ValueError:
                return False
            return isinstance(facts, dict) and facts.get("made_by") == self.job
        if self.typical is None or not out.exists(self.typical[0]):
            return False
        with out.open_input(self.typical[0]) as file:
            return file.read(len(self.typical[1])) == self.typical[1]


def _holds_something(store: Store) -> bool:
    return store.root_exists() and next(store.entries(), None) is not None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
