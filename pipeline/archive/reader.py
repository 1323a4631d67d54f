"""From an archive's rows back to pictures: with the models in the archive, or with standard codecs in the sandbox."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from model.bitstream.container import METADATA, Colour, Tag, read, read_header, write
from model.codec import Codec
from model.core.boundary import Fault, attempt, attempt_all
from model.core.errors import DamagedPayload, MissingPackage
from model.core.picture import Picture
from pipeline.archive import standard_payload
from pipeline.archive.archive import Archive
from pipeline.archive.kept_source import kept_source
from pipeline.archive.model_store import is_fingerprint
from pipeline.archive.models import Models
from pipeline.archive.schema import KEPT_ANYHOW, READER_COLUMNS, STANDARD
from pipeline.images.formats.codec_names import STANDARD_NAMES
from pipeline.images.limits import READING, decodable_pixels
from pipeline.storage.base import StorageError, Unwritable

CHUNK_PIXELS = 4 << 20
"""Approximate number of pixels that are decoded together: fills the codec's batches and fits in
memory."""

Row = dict[str, Any]
"""A row of the archive with at least key, model, width, height, payload, and those of METADATA."""


class RowDecoder:
    """Decodes the compressed rows of one archive.

    Latents are decoded with the models that made them, and files of standard codecs in this
    process's sandbox.

    Attributes:
        device: "cpu" or "cuda".
    """

    def __init__(self, models: Models, device: str = "cpu") -> None:
        self.device = device
        self._models = models

    def pictures(self, rows: Sequence[Row], scale: float = 1) -> Iterator[tuple[Row, Picture | str]]:
        """Each row with its picture, or with the reason why it does not decode.

        Whatever goes wrong with one row, other rows are not affected. At a `scale` of 1/2, 1/4, 1/8 or
        1/16, pictures that a model compressed are smaller (`Codec.decompress`); others are whole.

        Raises:
            Unwritable: when this machine's cache of models takes none.
        """
        sound: list[Row] = []
        for row in rows:
            if fault := row_fault(row):
                yield row, fault
            elif row.get("status") == STANDARD:
                picture = attempt(functools.partial(standard_picture, row), passes=(Unwritable, MissingPackage))
                yield row, picture.reason if isinstance(picture, Fault) else picture
            else:
                sound.append(row)
        decode = functools.partial(self._decode, scale=scale)
        for chunk in chunks(sound):
            for row, picture in zip(chunk, attempt_all(chunk, decode, passes=(Unwritable,)), strict=True):
                yield row, picture.reason if isinstance(picture, Fault) else picture

    def _decode(self, rows: Sequence[Row], scale: float = 1) -> list[Picture]:
        pictures = self.codec(rows[0]["model"]).decompress([row["payload"] for row in rows], scale)
        return [with_metadata(picture, row) for row, picture in zip(rows, pictures, strict=True)]

    def codec(self, fingerprint: str) -> Codec:
        """The codec of one of the archive's models; raises what `Models.codec` does."""
        return self._models.codec(fingerprint, self.device)


def with_metadata(picture: Picture, row: Row) -> Picture:
    """A row's decoded picture with what the row's columns hold beside the payload."""
    icc, exif, xmp, skeleton = (row[name] or b"" for name in METADATA)
    return replace(picture, icc=icc, exif=exif, xmp=xmp, skeleton=skeleton)


def standard_picture(row: Row) -> Picture:
    """The picture of a row that a standard codec compressed, decoded in the sandbox.

    Args:
        row: one with which `row_fault` finds nothing wrong.

    Raises:
        DamagedPayload: when the payload is not intact, or no file of the row's codec and size.
        MissingPackage: when imagecodecs is not installed.
    """
    from pipeline.images.sandbox.sandbox import shared  # imports readers of images, which plans do without

    payload, width, height = standard_payload.read(row["payload"]), row["width"], row["height"]
    grey = payload.colour == Colour.GREY
    pixels = shared(READING).decode_standard(row["codec"], payload.file, width, height, grey=grey)
    return with_metadata(Picture(pixels, payload.alpha_plane(height, width)), row)


def row_fault(row: Row) -> str | None:
    """Why a compressed row cannot even be decoded, before memory is allocated for it; None if it may be.

    Archives that others wrote may hold nulls, sizes that no picture has, names of models that lead
    elsewhere, and rows that say one thing where their payload says another.
    """
    payload, width, height = row.get("payload"), row.get("width"), row.get("height")
    if not isinstance(payload, bytes):
        return "its row lacks the payload"
    if not isinstance(width, int) or not isinstance(height, int) or min(width, height) < 1:
        return f"its row gives an impossible size: {width} x {height}"
    if row.get("status") == STANDARD:
        codec = row.get("codec")
        fault = None if codec in STANDARD_NAMES else f"its row names no standard codec: {str(codec)[:40]!r}"
    else:
        fault = _latent_fault(payload, row.get("model"), (width, height))
    if fault is not None:
        return fault
    if width * height > (most := decodable_pixels()):
        return (
            f"it has {width * height / 1e6:.0f} megapixels, more than {most / 1e6:.0f}: if you trust this archive, "
            "set MAEPRESS_MAX_MEGAPIXELS"
        )
    return None


def _latent_fault(payload: bytes, model: object, size: tuple[int, int]) -> str | None:
    if not isinstance(model, str):
        return "its row lacks the model"
    if not is_fingerprint(model):
        return f"its row names no model: {model[:40]!r}"
    try:
        header = read_header(payload)
    except DamagedPayload as e:
        return str(e)
    if (header.width, header.height) != size:
        return f"its row gives the size {size[0]} x {size[1]}, its payload {header.width} x {header.height}"
    if header.fingerprint != model:
        return f"its row names the model {model}, its payload {header.fingerprint}"
    return None


def chunks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """The rows in groups of one model and about CHUNK_PIXELS pixels, sorted by model."""
    chunk: list[Row] = []
    pixels = 0
    for row in sorted(rows, key=lambda row: str(row["model"])):
        size = row["width"] * row["height"]
        if chunk and (row["model"] != chunk[0]["model"] or pixels + size > CHUNK_PIXELS):
            yield chunk
            chunk, pixels = [], 0
        chunk.append(row)
        pixels += size
    if chunk:
        yield chunk


def mae_file(row: Row) -> bytes:
    """A row's payload as a complete `.mae` file, including the metadata in the row's other columns.

    Raises:
        DamagedPayload: when the payload is not intact.
    """
    header, sections = read(row["payload"])
    tagged = {Tag(tag): data for tag, data in sections.items() if tag in set(Tag)}
    if len(tagged) != len(sections):
        raise DamagedPayload("the payload has sections of a newer maepress: upgrade maepress")
    return write(header, tagged | {tag: row[name] or b"" for name, tag in METADATA.items()})


def read_image(archive: Archive, key: str) -> Picture | bytes:
    """One image: decoded if it was compressed, or the source's own bytes if it was kept.

    Of a picture kept as pixels, a file of the source's format with the same samples and facts.

    It reads the table's log, the footer of the shard whose range holds the key, and one row group,
    so the time does not depend on the size of the archive. The archive's model is fetched once per machine and
    loaded once per process.

    Args:
        archive: to read from.
        key: the source's key.

    Raises:
        StorageError: when there is no such key, or its model is not in the archive.
        DamagedPayload: when the row is not intact.
    """
    row = archive.row(key, READER_COLUMNS)
    if row is None:
        raise StorageError(f"{archive.url} has no image {key!r}")
    payload: bytes = row["payload"]
    if row["status"] in KEPT_ANYHOW:
        return kept_source(row["status"], payload)
    ((_, picture),) = process_decoder(archive.url).pictures([row])
    if isinstance(picture, str):
        raise DamagedPayload(f"{key!r} in {archive.url} does not decode: {picture}")
    return picture


@lru_cache(maxsize=4)
def process_decoder(url: str, device: str = "cpu") -> RowDecoder:
    """This process's decoder for an archive: its models stay loaded between calls and tasks."""
    return RowDecoder(Models(Archive(url)), device)
