"""Export: leave maepress. Every key as a file in a standard format, and a list of what each file lacks.

    DEST/KEY ...          the files, as `decode` writes them
    DEST/losses.jsonl     one line per key: {"key", "file", "format", "stored", "lost", "reason"}
    DEST/metadata.jsonl   of an ImageFolder with sidecars: {"file_name", "label", "key", "meta"} per image

`stored` says how the archive held the image: "compressed", or "exact" for a source that was kept.
`lost` names what the file lacks of that, and `reason` why there is no file, or one of another
format than asked for. The list is written last, so a folder that has it is complete or tells what
is missing.
"""

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from typing import BinaryIO

from model.core.boundary import Fault, attempt
from pipeline.archive.archive import Archive
from pipeline.archive.schema import COMPRESSED
from pipeline.decode.layouts import label_of
from pipeline.decode.result import DecodeResult, Outcome
from pipeline.decode.run import checked_archive, decode_each
from pipeline.decode.settings import ExportSettings
from pipeline.sources.sidecars.meta import label_in
from pipeline.storage.open import StorageError, Store, open_store

LOSSES = "losses.jsonl"
METADATA = "metadata.jsonl"
_METADATA_FIELDS = ("file_name", "label", "key", "meta")
MIB = 1 << 20
_FIELDS = ("key", "file", "format", "stored", "lost", "reason")
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The result of an export.

    Attributes:
        decoded: the files.
        losses_file: name of the list in the destination.
    """

    decoded: DecodeResult
    losses_file: str

    @property
    def ok(self) -> bool:
        """Whether every key has its file."""
        return not self.decoded.failed

    def to_dict(self) -> dict[str, object]:
        """The fields, those of the files among them, and `ok`."""
        return {"ok": self.ok, "losses_file": self.losses_file} | asdict(self.decoded)


def export(settings: ExportSettings, *, quiet: bool = False) -> ExportResult:
    """Write every key of an archive as a file in a standard format, and the list of what each file lacks.

    Existing files are treated as in `pipeline.decode.run.decode`: equal ones stay, so that the same
    export continues; others are failures unless `settings.overwrite` is set. The list of an earlier
    export is replaced.

    Args:
        settings: archive, destination and format.
        quiet: show no progress.

    Raises:
        MaepressError: as `decode` does, and when the destination holds another file under the name
            of the list.
    """
    archive = checked_archive(settings)
    dest = open_store(settings.dest)
    name = _free_name(archive)
    _require_own(dest, name)
    listed = settings.layout == "imagefolder" and settings.sidecars
    if listed:
        _require_own(dest, METADATA, _METADATA_FIELDS)
    with tempfile.TemporaryFile() as lines, tempfile.TemporaryFile() as metadata:

        def seen(outcome: Outcome) -> None:
            _add(lines, outcome)
            _add_metadata(metadata, outcome)

        result = decode_each(settings, seen, layout=settings.layout, shard_bytes=settings.shard_mib * MIB, quiet=quiet)
        for made, file in ((METADATA if listed else "", metadata), (name, lines)):
            file.seek(0)
            if made:
                with dest.open_output(made) as out:
                    shutil.copyfileobj(file, out)
    return ExportResult(result, name)


def _add_metadata(file: BinaryIO, outcome: Outcome) -> None:
    """Add the line of an image to Hugging Face's metadata of an ImageFolder: all lines have the same columns."""
    for meta in outcome.listed:
        label = attempt(lambda meta=meta: label_in(meta))  # type: ignore[misc]
        named = label_of(outcome.key) if isinstance(label, Fault) or label is None else label
        values = (outcome.name, named, outcome.key, meta)
        text = json.dumps(dict(zip(_METADATA_FIELDS, values, strict=True)), ensure_ascii=False)
        file.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _add(lines: BinaryIO, outcome: Outcome) -> None:
    failed = bool(outcome.reason)
    values = (
        outcome.key,
        outcome.name or None,
        outcome.form or None,
        None if failed else "compressed" if outcome.status in COMPRESSED else "exact",
        ["the file"] if failed else list(outcome.lost),
        outcome.reason or outcome.instead or None,
    )
    text = json.dumps(dict(zip(_FIELDS, values, strict=True)), ensure_ascii=False)
    lines.write(text.encode("utf-8", "backslashreplace") + b"\n")


def _free_name(archive: Archive) -> str:
    """The list's name, another one if that is a key of the archive."""
    names = (LOSSES, *(f"losses-{number}.jsonl" for number in range(1, 1000)))

    def is_key(name: str) -> bool:
        row = attempt(lambda: archive.row(name, ("key",)))
        return not (row is None or isinstance(row, Fault))  # a damaged shard is reported as its rows are read

    return next(name for name in names if not is_key(name))


def _require_own(dest: Store, name: str, fields: tuple[str, ...] = _FIELDS) -> None:
    """Check that a list, with these fields per line, would replace nothing but the list of an earlier export.

    Raises:
        StorageError: when it would.
    """
    if not dest.root_exists() or not dest.exists(name):
        return
    with dest.open_input(name) as file:
        line = file.readline(_LONGEST_LINE)
    try:
        ours = not line or tuple(json.loads(line)) == fields
    except (ValueError, TypeError):
        ours = False
    if not ours:
        raise StorageError(f"{dest.url} holds another file {name}, which is the name of a list: move it away")
