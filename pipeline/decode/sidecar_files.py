"""What an archive's column `meta` holds, as files beside an image, and as members of samples.

meta of set/a.jpg                       beside set/a.jpg, with --sidecars
{"json": {"json": ...},                 set/a.json, byte for byte
"text": {"txt": "a cat"},              set/a.txt, likewise
"label": "set", "coco": [...]}         set/a.jpg.json: {"label": "set", "coco": [...]}
"""

import re
from collections.abc import Mapping
from typing import Any

from model.core.boundary import Fault, attempt
from pipeline.decode.names import Names
from pipeline.decode.portable import portable
from pipeline.decode.result import Outcome
from pipeline.decode.video_muxing import OCCUPIED
from pipeline.sources.sidecars.meta import files_of, without_files
from pipeline.sources.sidecars.sidecar_names import SUFFIXES, divided
from pipeline.storage.base import Occupied, Store, Unwritable

SIDECARS = "sidecars"
"""What a file lacks whose row has sidecars, where they are not asked for."""
_NAME = re.compile(rf"([^/\\\0.]{{1,20}}\.)?({'|'.join(SUFFIXES)})")
"""What may follow an image's name and a dot; an archive that others made may hold anything."""


def has_sidecars(meta: str | None) -> bool:
    """Whether a meta holds more than a label; also one that is damaged."""
    if meta is None:
        return False
    found = attempt(lambda: bool(files_of(meta)) or without_files(meta) is not None)
    return isinstance(found, Fault) or found


def checked_files(meta: str) -> dict[str, bytes]:
    """The sidecar files in a meta, by what follows the image's name and a dot.

    Raises:
        ValueError: when it is none, or one of the names leads elsewhere.
    """
    files = files_of(meta)
    for name in files:
        if not _NAME.fullmatch(name):
            raise ValueError(f"its meta holds a sidecar of the name {name[:40]!r}")
    return files


def files_beside(key: str, name: str, meta: str) -> dict[str, bytes]:
    """The files beside an image, by name.

    Args:
        key: of the image.
        name: of its file, without the sidecars' own.
        meta: of its row.

    Raises:
        ValueError: as `checked_files` does.
    """
    stem = divided(key)[0]
    made = {f"{stem}.{suffix}": data for suffix, data in checked_files(meta).items()}
    if (rest := without_files(meta)) is not None:
        other = f"{name}.json" if f"{name}.json" not in made else f"{name}.meta.json"
        made[other] = rest.encode() + b"\n"
    return made


def write_beside(outcome: Outcome, row: Mapping[str, Any], dest: Store, names: Names, overwrite: bool) -> list[Outcome]:
    """Write the files beside an image that has been written; what fails is an outcome of its own.

    Args:
        outcome: of the image.
        row: with key, meta and source_modified_ns.
        dest: where the image is.
        names: the plan of names.
        overwrite: replace files that differ.
    """
    made = attempt(lambda: files_beside(row["key"], outcome.name, row["meta"]))
    if isinstance(made, Fault):
        return [Outcome(row["key"], reason=f"its sidecars cannot be written: {made.reason}")]
    failed: list[Outcome] = []
    for name, data in made.items():
        place = portable(name) if names.portable else name

        def put(place: str = place, data: bytes = data) -> None:
            (dest.put if overwrite else dest.put_new)(place, data, row["source_modified_ns"])

        try:
            done = attempt(put, passes=(Unwritable, Occupied))
        except Occupied:
            done = Fault(OCCUPIED)
        if isinstance(done, Fault):
            failed.append(Outcome(name, reason=f"it cannot be written: {done.reason}"))
    return failed
