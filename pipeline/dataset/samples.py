"""Turns rows of an archive into arrays to learn from: pixels, or one of three depths of latents.

| content   | array                                               | decoded for it                                     |
|-----------|-----------------------------------------------------|----------------------------------------------------|
| `image`   | uint8 `[H, W, 3]`                                   | everything                                         |
| `sketch`  | float32 `[ceil(h/4), ceil(w/4), Z]`, h = ceil(H/16) | z: the stream's first hundreds of bytes            |
| `prefix`  | float32 `[ceil(h/2), ceil(w/2), M + Z]`             | z and the first of three passes, no floating point |
| `latents` | float32 `[h, w, M]`                                 | all symbols and their means, no synthesis          |

A prefix is the beginning of the payload (`model.inference.partial_decode`): the M channels of the first pass, as
residuals of their prediction from z, in units of y, and the Z channels of z, repeated to the same resolution.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from model.codec import Codec
from model.core.boundary import Fault, attempt, attempt_all
from model.core.errors import DamagedPayload, MaepressError
from model.core.reduction import box_reduced, denominator_of
from pipeline.archive.archive import Archive
from pipeline.archive.kept_source import kept_source
from pipeline.archive.reader import Row, chunks, process_decoder, row_fault, standard_picture
from pipeline.archive.schema import COMPRESSED, LATENT, STANDARD
from pipeline.images.decode_rgb import decode_rgb
from pipeline.storage.base import StorageError

Content = Literal["image", "sketch", "prefix", "latents"]


@dataclass(frozen=True, eq=False, slots=True)
class Grid:
    """An array as integers, in a quarter of the memory.

    Attributes:
        numbers: int8 `[rows, columns, C]`; int16 if one of them needs it; uint8 for pixels.
        scale: float32 `[C]`; the array is the product of both.
    """

    numbers: NDArray[np.int8] | NDArray[np.int16] | NDArray[np.uint8]
    scale: NDArray[np.float32]

    def values(self) -> NDArray[np.float32]:
        """The array, float32 `[rows, columns, C]`."""
        return self.numbers * self.scale


_Make = Callable[[Codec, list[bytes]], list[Any]]
"""A function from a model and some of its payloads to their arrays."""


class Samples:
    """Decodes rows of one archive into arrays, with the archive's models."""

    def __init__(self, archive: Archive, content: Content, device: str = "cpu", scale: float = 1) -> None:
        """Models are loaded when they are first needed.

        Args:
            archive: the archive.
            content: what the arrays hold.
            device: where the networks run.
            scale: of images: 1, 1/2, 1/4, 1/8 or 1/16.

        Raises:
            MaepressError: for another content or scale, or a scale below 1 of other contents than images.
        """
        if content not in get_args(Content):
            raise MaepressError(f"content {content!r} is unknown: choose {', '.join(get_args(Content))}")
        if denominator_of(scale) > 1 and content != "image":
            raise MaepressError(f"content {content} has no smaller scale: leave scale out, or read images")
        self._scale = scale
        self._archive = archive
        self._content = content
        self._decoder = process_decoder(archive.url, device)

    def arrays(self, rows: Sequence[Row]) -> list[NDArray[Any]]:
        """The array of each row, in order.

        Raises:
            DamagedPayload: naming the key of a row that does not decode.
            StorageError: for a row that has no such content.
        """
        if self._content == "image":
            return self._sound(rows, self._each(rows, self._pixels, (StorageError,)))
        if self._content == "latents":
            made = self._each(rows, lambda codec, payloads: codec.latents(payloads), (StorageError,))
            return self._sound(rows, made)
        return [grid.values() for grid in self.grids(rows)]

    def grids(self, rows: Sequence[Row]) -> list[Grid]:
        """The latents of each row as integers, in order.

        Sketch and prefix are exact; latents are rounded to 8 bits relative to their channel's largest value in the
        image.

        Raises:
            DamagedPayload: as `arrays` does.
            StorageError: as `arrays` does.
        """
        return self._sound(rows, self._each(rows, GRIDS[self._content], (StorageError,)))

    def pixels_or_faults(self, rows: Sequence[Row]) -> list[NDArray[np.uint8] | Fault]:
        """Pixels of each row, with the reason in the place of each that does not decode; raises nothing for a row."""
        return self._each(rows, self._pixels, ())

    def grids_or_faults(self, rows: Sequence[Row]) -> list[Grid | Fault]:
        """The same, with the reason in the place of each row that does not decode; raises nothing for a row."""
        return self._each(rows, GRIDS[self._content], ())

    def _each(self, rows: Sequence[Row], make: _Make, passes: tuple[type[Exception], ...]) -> list[Any]:
        """The array of each row, or its fault."""
        made: dict[int, Any] = {}
        latent: list[Row] = []
        for number, row in enumerate(rows):
            if row["payload"] is None:
                made[number] = Fault("its row is damaged: its hash, and a checksum of its shard, do not match")
            elif row["status"] != LATENT and self._content != "image":
                made[number] = attempt(functools.partial(self._without_latents, row), passes=passes)
            elif row["status"] not in COMPRESSED:
                made[number] = attempt(functools.partial(self._kept, row), passes=passes)
            elif fault := row_fault(row):
                made[number] = Fault(fault)
            elif row["status"] == STANDARD:
                made[number] = attempt(functools.partial(self._standard, row), passes=passes)
            else:
                latent.append(row | {"number": number})
        for chunk in chunks(latent):
            arrays = attempt_all(chunk, functools.partial(self._chunk, make), passes=passes)
            made |= zip((row["number"] for row in chunk), arrays, strict=True)
        return [made[number] for number in range(len(rows))]

    def _chunk(self, make: _Make, rows: Sequence[Row]) -> list[Any]:
        """Arrays of rows that one model encoded."""
        return make(self._decoder.codec(rows[0]["model"]), [row["payload"] for row in rows])

    def _sound(self, rows: Sequence[Row], made: list[Any]) -> list[Any]:
        """The arrays, if none is a fault."""
        for row, one in zip(rows, made, strict=True):
            if isinstance(one, Fault):
                raise DamagedPayload(
                    f"{row['key']!r} in {self._archive.url} does not decode: {one.reason}; "
                    "`maepress verify` names all such rows"
                )
        return made

    def _pixels(self, codec: Codec, payloads: list[bytes]) -> list[NDArray[np.uint8]]:
        return [_rgb(picture.pixels) for picture in codec.decompress(payloads, self._scale)]

    def _standard(self, row: Row) -> NDArray[np.uint8]:
        return box_reduced(_rgb(standard_picture(row).pixels), denominator_of(self._scale))

    def _without_latents(self, row: Row) -> None:
        """Refuse a row that no model compressed."""
        how = f"compressed as {row['codec']}" if row["status"] == STANDARD else "kept as its source"
        raise StorageError(f"{row['key']!r} in {self._archive.url} is {how} and has no latents")

    def _kept(self, row: Row) -> NDArray[np.uint8]:
        """Pixels of a row whose source was kept."""
        image = decode_rgb(kept_source(row["status"], row["payload"]))
        if image is None:
            raise StorageError(
                f"{row['key']!r} in {self._archive.url} is kept in a form that has no RGB pixels: "
                "leave it out by key or by status"
            )
        return box_reduced(np.asarray(image), denominator_of(self._scale))


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels if pixels.shape[2] == 3 else pixels.repeat(3, 2)


def _sketches(codec: Codec, payloads: list[bytes]) -> list[Grid]:
    return [Grid(z, np.ones(z.shape[-1], np.float32)) for z in codec.hyper_latents(payloads)]


def _prefixes(codec: Codec, payloads: list[bytes]) -> list[Grid]:
    found = codec.prefixes(payloads)
    steps = codec.quantisation_steps([prefix.header.fine_quality for prefix in found])
    grids = []
    for prefix, step in zip(found, steps, strict=True):
        rows, columns, channels = prefix.symbols.shape
        small = max(int(prefix.symbols.max()), -int(prefix.symbols.min())) <= 127
        numbers = np.empty((rows, columns, channels + prefix.z.shape[-1]), np.int8 if small else np.int16)
        numbers[..., :channels] = prefix.symbols.clip(-32767, 32767)
        numbers[..., channels:] = prefix.z.repeat(2, 0).repeat(2, 1)[:rows, :columns]
        grids.append(Grid(numbers, np.concatenate([step, np.ones(prefix.z.shape[-1], np.float32)])))
    return grids


def _latents(codec: Codec, payloads: list[bytes]) -> list[Grid]:
    grids = []
    for latents in codec.latents(payloads):
        scale = np.maximum(np.abs(latents).max((0, 1)), 1e-6) / 127
        grids.append(Grid(np.rint(latents / scale).astype(np.int8), scale))
    return grids


GRIDS: dict[str, Callable[[Codec, list[bytes]], list[Grid]]] = {
    "sketch": _sketches,
    "prefix": _prefixes,
    "latents": _latents,
}
"""The contents that are grids, and how they are made."""
