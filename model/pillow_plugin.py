"""Pillow plugin for `.mae`: importing it registers the format with `Image.open` and `Image.save`.

    import maepress.pillow_plugin as mae
    mae.use("models/photos")            # beside the shipped model; files name the model that they need
    image = Image.open("x.mae")         # reads size, mode and metadata; pixels are decoded at first use
    image.save("y.mae", quality=48)     # or min_ssimulacra2=80, or another field of `Target`; effort=1, too

Modes L, LA, RGB and RGBA are read and written, with ICC profile, EXIF (orientation as stored) and
XMP. Convert other modes first. `draft` and `thumbnail` decode at 1/2, 1/4 or 1/8 where that is large
enough.
"""

import io
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile

from model.bitstream import container
from model.bitstream.container import MAGIC, Colour, Tag
from model.codec import Codec
from model.core.errors import DamagedPayload, MaepressError, WrongModel
from model.core.model_files import shipped_model
from model.core.picture import Picture
from model.core.target import Target

DEFAULT_QUALITY = 40
TARGETS = tuple(field.name for field in fields(Target))
"""Targets that `save` accepts, at most one of them."""
_codecs: dict[str, Codec] = {}
_preferred: list[str] = []


def use(folder: str | Path) -> Codec:
    """Register a model: files that it encoded can be opened, and files are saved with it from now on.

    Args:
        folder: a local model folder, or the name of a shipped model ("base", "base-psnr").

    Raises:
        MaepressError: when the folder has no readable model.
    """
    codec = Codec.load(folder)
    _codecs[codec.fingerprint] = codec
    _preferred[:] = [codec.fingerprint]
    return codec


def _codec(fingerprint: str | None = None) -> Codec:
    """The codec of a model, or the preferred one; shipped models are loaded at first use."""
    if not _preferred:
        use("base")
    if fingerprint and fingerprint not in _codecs and (name := shipped_model(fingerprint)):
        _codecs[fingerprint] = Codec.load(name)
    try:
        return _codecs[fingerprint or _preferred[0]]
    except KeyError:
        known = ", ".join(sorted(_codecs))
        raise WrongModel(
            f"the file was encoded by model {fingerprint}, known are {known}: "
            "call maepress.pillow_plugin.use(its folder)"
        ) from None


class MaeImageFile(ImageFile.ImageFile):
    """A `.mae` file, decoded when its pixels are first read."""

    format = "MAE"
    format_description = "maepress image"

    def _open(self) -> None:
        assert self.fp is not None
        self._payload, self._scale = self.fp.read(), 1.0
        try:
            header, sections = container.read(self._payload)
        except DamagedPayload as e:
            raise SyntaxError(str(e)) from None  # what Pillow expects when the format does not match
        self._fingerprint = header.fingerprint
        self._size = (header.width, header.height)
        self._mode = ("L" if header.colour == Colour.GREY else "RGB") + ("A" if Tag.ALPHA in sections else "")
        self._mode = "RGBA" if self._mode == "RGBA" else self._mode
        self.info["quality"] = header.fine_quality
        for name, tag in (("icc_profile", Tag.ICC), ("exif", Tag.EXIF), ("xmp", Tag.XMP)):
            if tag in sections:
                self.info[name] = sections[tag]
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Decode at 1/2, 1/4 or 1/8 of the sides: the smallest with at least `size`; the mode stays.

        1/16 is not used: it is read from a part of the file, and is less faithful.
        """
        if size is None or not self._payload or self._scale != 1 or not self.tile:
            return None
        width, height = self.size
        fits = [d for d in (2, 4, 8) if -(-width // d) >= size[0] and -(-height // d) >= size[1]]
        if not fits:
            return None
        self._scale = 1 / fits[-1]
        self._size = (-(-width // fits[-1]), -(-height // fits[-1]))
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return self.mode, (0, 0, width / fits[-1], height / fits[-1])

    def load(self) -> Any:
        """Decode, once.

        Raises:
            OSError: when the payload is damaged or its model is not registered.
        """
        if self.tile and self._payload:
            try:
                (picture,) = _codec(self._fingerprint).decompress([self._payload], self._scale)
            except MaepressError as e:
                raise OSError(str(e)) from e
            planes = picture.pixels if picture.alpha is None else np.dstack([picture.pixels, picture.alpha])
            if self.fp is not None and self._exclusive_fp:
                self.fp.close()
            self.fp = io.BytesIO(planes.tobytes())
            self._payload = b""
        return super().load()

    def load_seek(self, pos: int) -> None:
        """Do nothing: the pixels are in memory already."""


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        raise OSError(f"cannot write mode {image.mode} as MAE: convert it to L, LA, RGB or RGBA first")
    options = image.encoderinfo
    if "transparency" in image.info and image.mode in ("L", "RGB"):  # one colour, which a payload has no place for
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    planes = np.asarray(image)[..., None] if image.mode == "L" else np.asarray(image)
    alpha = np.ascontiguousarray(planes[..., -1]) if image.mode.endswith("A") else None
    colour = planes if alpha is None else np.ascontiguousarray(planes[..., :-1])

    def metadata(name: str) -> bytes:
        value = options.get(name, image.info.get(name)) or b""
        return value.tobytes() if isinstance(value, Image.Exif) else value.encode() if isinstance(value, str) else value

    wanted = {name: options[name] for name in TARGETS if options.get(name) is not None}
    try:
        picture = Picture(colour, alpha, metadata("icc_profile"), metadata("exif"), metadata("xmp"))
        target = Target(**(wanted or {"quality": DEFAULT_QUALITY}))
        (payload,) = _codec().compress([picture], target, effort=options.get("effort") or 0)
    except MaepressError as e:
        raise ValueError(str(e)) from e
    file.write(payload)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


Image.register_open(MaeImageFile.format, MaeImageFile, _accept)
Image.register_save(MaeImageFile.format, _save)
Image.register_extension(MaeImageFile.format, ".mae")
Image.register_mime(MaeImageFile.format, "image/x-maepress")
