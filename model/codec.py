"""The codec's public face: pictures in, payloads out, and back.

    codec = Codec.load("base")
    payloads = codec.compress(pictures, quality=40)      # list[bytes], each a whole .mae file
    pictures = codec.decompress(payloads)

A codec is complete when it is loaded: there is nothing to update or compile. It decodes what its own model pressed, on
any device and with any number of threads, to the same symbols; pixels may differ by a rounding step between devices.

For a pipeline the same in two halves: `analyse` runs the networks (on the GPU where there is one) and returns small
integers; `coder.encode` turns those into bytes, in other processes if need be.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from model import checkpoint, container, escapes, planes
from model.coder import EntropyCoder, Latents, expect_numbers
from model.config import HYPER_STRIDE, LATENT_STRIDE
from model.container import PASS_TAGS, Colour, Header, Tag
from model.errors import DamagedPayload, MaepressError, UnsupportedImage, WrongModel
from model.layers import set_compute_dtype
from model.passes import pass_map
from model.picture import Picture
from model.precision import best_dtype
from model.target import Target

Parsed = tuple[Header, dict[int, bytes]]
"""A payload's header and sections."""
Result = TypeVar("Result")
BATCH_PIXELS = {"cpu": 1 << 20, "cuda": 1 << 24}
"""Most pixels that go through the networks at once: what a CPU's caches hold, and what fills a GPU."""
MAX_PIXELS = 1 << 28
"""Largest image that is coded. A header that names more is taken for damage: nothing may be allocated on its word."""


class Codec:
    """One model, ready to code at all 64 qualities.

    Attributes:
        fingerprint: 16 hex digits that name the model; every payload carries them.
        coder: the entropy-coding half, without torch, small to send to other processes.
    """

    def __init__(self, model: checkpoint.Checkpoint, device: str = "cpu") -> None:
        self.fingerprint = model.fingerprint
        self.coder = EntropyCoder(model.tables, model.fingerprint)
        self._network = model.network
        self._device = torch.device(device)
        set_compute_dtype(self._network, best_dtype(self._device))

    @classmethod
    def load(cls, folder: str | Path = "base", *, device: str = "cpu") -> "Codec":
        """A codec from a local model folder, or "base" for the model that maepress ships.

        Raises:
            MaepressError: when there is no readable model.
        """
        return cls(checkpoint.load(folder, device), device)

    def compress(self, pictures: Sequence[Picture], quality: int | Target, *, metadata: bool = True) -> list[bytes]:
        """Press pictures.

        Args:
            pictures: of any sizes.
            quality: 0 (smallest) .. 63 (highest fidelity), or a target.
            metadata: put each picture's ICC profile, EXIF and XMP into its payload.

        Returns:
            a payload each, in order.

        Raises:
            MaepressError: for a quality out of range.
            UnsupportedImage: for more than `MAX_PIXELS`.
        """
        pressed = []
        for picture, latents in zip(pictures, self.analyse(pictures, quality, check=False), strict=True):
            extra = {"icc": picture.icc, "exif": picture.exif, "xmp": picture.xmp} if metadata else {}
            pressed.append(self.coder.encode(latents, **extra))
        return pressed

    def analyse(self, pictures: Sequence[Picture], target: int | Target, *, check: bool = True) -> list[Latents]:
        """The first half of `compress`: everything up to whole numbers.

        Args:
            pictures: of any sizes; those of equal padded size go through the networks together.
            target: a quality 0..63, or a floor or limit that each picture is pressed to.
            check: also reconstruct what the decoder will output and measure its PSNR.

        Returns:
            a `Latents` each, in order.

        Raises:
            MaepressError: for a quality out of range.
            UnsupportedImage: for more than `MAX_PIXELS`.
        """
        quality = Target.of(target).quality
        if quality is None:
            raise MaepressError("only quality can be targeted yet")
        for p in pictures:
            if p.width * p.height > MAX_PIXELS:
                raise UnsupportedImage(
                    f"{p.width}x{p.height} pixels are more than {MAX_PIXELS}: cut the image into tiles"
                )
        results: dict[int, Latents] = {}
        for batch in _batches([_padded_size(p.height, p.width) for p in pictures], self._batch_pixels()):
            results |= zip(batch, self._analyse([pictures[i] for i in batch], quality, check), strict=True)
        return [results[i] for i in range(len(pictures))]

    @torch.inference_mode()
    def _analyse(self, pictures: list[Picture], quality: int, check: bool) -> list[Latents]:
        """Pictures of one padded size."""
        image = torch.from_numpy(np.stack([_pad(p.pixels) for p in pictures])).to(self._device)
        row = torch.full((len(pictures),), quality, device=self._device)
        coded = self._network.analyse(image.to(torch.float32) / 255, row)
        output = self._network.synthesise(coded.latent, row).cpu().numpy() if check else None
        z, symbols, indices = (t.cpu().numpy() for t in (coded.z, coded.symbols, coded.indices))
        narrow = symbols.astype(np.int16) if np.abs(symbols).max() < 1 << 15 else symbols
        latents = []
        for i, picture in enumerate(pictures):
            colour = Colour.GREY if picture.pixels.shape[2] == 1 else Colour.RGB
            header = Header(self.fingerprint, picture.width, picture.height, quality, colour)
            psnr = None if output is None else _psnr(picture.pixels, _unpad(output[i], header))
            latents.append(Latents(header, z[i], narrow[i], indices[i], picture.alpha, psnr))
        return latents

    def decompress(self, payloads: Sequence[bytes]) -> list[Picture]:
        """Pictures of payloads, in order.

        Raises:
            DamagedPayload: when a payload is not exactly what was written.
            WrongModel: when another model pressed it.
        """
        return self._in_batches(payloads, self._decompress)

    def restore(self, payloads: Sequence[bytes]) -> list[Latents]:
        """The first half of `decompress`: the very whole numbers that were encoded, the same on every machine.

        Raises:
            DamagedPayload: when a payload is not exactly what was written.
            WrongModel: when another model pressed it.
        """
        return self._in_batches(payloads, lambda parsed: self._restore(parsed)[0])

    def _in_batches(self, payloads: Sequence[bytes], decode: Callable[[list[Parsed]], list[Result]]) -> list[Result]:
        parsed = [self._parse(p) for p in payloads]
        results: dict[int, Result] = {}
        for batch in _batches([_padded_size(h.height, h.width) for h, _ in parsed], self._batch_pixels()):
            results |= zip(batch, decode([parsed[i] for i in batch]), strict=True)
        return [results[i] for i in range(len(payloads))]

    def _parse(self, payload: bytes) -> Parsed:
        header, sections = container.read(payload)
        if header.fingerprint != self.fingerprint:
            raise WrongModel(
                f"the payload was pressed by model {header.fingerprint}, "
                f"this codec is model {self.fingerprint}: load that one"
            )
        hyper = len(sections.get(Tag.HYPER, b""))
        if header.width * header.height > MAX_PIXELS or not self.coder.is_plausible(header, hyper):
            raise DamagedPayload(
                f"{header.width}x{header.height} pixels cannot be in a payload of {len(payload)} bytes"
            )
        return header, sections

    @torch.inference_mode()
    def _decompress(self, parsed: list[Parsed]) -> list[Picture]:
        """Payloads of one padded size."""
        restored, latent = self._restore(parsed)
        row = torch.tensor([header.quality for header, _ in parsed], device=self._device)
        output = self._network.synthesise(latent, row).cpu().numpy()
        return [_picture(sections, output[i], restored[i]) for i, (_, sections) in enumerate(parsed)]

    @torch.inference_mode()
    def _restore(self, parsed: list[Parsed]) -> tuple[list[Latents], torch.Tensor]:
        """Whole numbers of payloads of one padded size, and the latents `[B, h, w, M]` that they stand for."""
        height, width = _padded_size(parsed[0][0].height, parsed[0][0].width)
        h, w = height // LATENT_STRIDE, width // LATENT_STRIDE
        config = self._network.config
        z_shape = (-(-h // HYPER_STRIDE), -(-w // HYPER_STRIDE), config.hyper_channels)
        row = torch.tensor([header.quality for header, _ in parsed], device=self._device)

        z = np.stack([self.coder.decode_hyper(s.get(Tag.HYPER, b""), z_shape, header.quality) for header, s in parsed])
        state = self._network.begin(torch.from_numpy(z).to(self._device), row, (h, w))
        passes = pass_map(h, w, config.latent_channels)
        symbols = np.zeros((len(parsed), *passes.shape), np.int32)
        escaped = [escapes.read(s.get(Tag.ESCAPES, b""), passes.size) for _, s in parsed]
        for number, tag in enumerate(PASS_TAGS):
            if number:
                self._network.advance(state, torch.from_numpy(symbols).to(self._device))
            mine = passes == number
            indices = state.indices.to(torch.uint8).cpu().numpy()
            for i, (_, s) in enumerate(parsed):
                symbols[i][mine] = self.coder.decode_pass(s.get(tag, b""), indices[i][mine])
                symbols[i].reshape(-1)[escaped[i][0]] = escaped[i][1]
        for i, (_, s) in enumerate(parsed):
            expect_numbers(s, z[i], symbols[i])
        restored = [
            Latents(header, z[i], symbols[i], indices[i], _alpha(header, sections))
            for i, (header, sections) in enumerate(parsed)
        ]
        return restored, self._network.reconstruct(state, torch.from_numpy(symbols).to(self._device))

    def verify(self, payload: bytes) -> Header:
        """Check a payload's checksum, structure and model without decoding it.

        Raises:
            DamagedPayload: when a payload is not exactly what was written.
            WrongModel: when another model pressed it.
        """
        return self._parse(payload)[0]

    def _batch_pixels(self) -> int:
        return BATCH_PIXELS[self._device.type]


def _alpha(header: Header, sections: dict[int, bytes]) -> NDArray[np.uint8] | None:
    return planes.read(sections[Tag.ALPHA], header.height, header.width) if Tag.ALPHA in sections else None


def _picture(sections: dict[int, bytes], output: NDArray[np.uint8], restored: Latents) -> Picture:
    metadata = {name: sections.get(tag, b"") for name, tag in (("icc", Tag.ICC), ("exif", Tag.EXIF), ("xmp", Tag.XMP))}
    return Picture(np.ascontiguousarray(_unpad(output, restored.header)), restored.alpha, **metadata)


def _padded_size(height: int, width: int) -> tuple[int, int]:
    """Sides rounded up to whole latents."""
    return height + -height % LATENT_STRIDE, width + -width % LATENT_STRIDE


def _pad(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB of whole latents: edges repeated, grey three times."""
    h, w, channels = pixels.shape
    height, width = _padded_size(h, w)
    padded = (
        np.pad(pixels, ((0, height - h), (0, width - w), (0, 0)), mode="edge") if (height, width) != (h, w) else pixels
    )
    return padded.repeat(3, axis=2) if channels == 1 else padded


def _unpad(output: NDArray[np.uint8], header: Header) -> NDArray[np.uint8]:
    """The decoder's RGB output to the picture's own planes: grey is the rounded mean of the three."""
    cropped = output[: header.height, : header.width]
    if header.colour == Colour.RGB:
        return cropped
    grey: NDArray[np.uint8] = ((cropped.sum(2, keepdims=True, dtype=np.uint16) * 2 + 3) // 6).astype(np.uint8)
    return grey


def _psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio in dB over all planes of two 8-bit images; infinite when they are equal."""
    difference = a.astype(np.int16) - b
    squared = float(np.mean(np.square(difference, dtype=np.int32)))
    return math.inf if squared == 0 else 10 * math.log10(255**2 / squared)


def _batches(sizes: list[tuple[int, int]], most_pixels: int) -> Iterator[list[int]]:
    """Positions of equal sizes, together at most so many pixels (or one)."""
    groups = defaultdict(list)
    for i, size in enumerate(sizes):
        groups[size].append(i)
    for (h, w), members in groups.items():
        step = max(1, most_pixels // (h * w))
        for start in range(0, len(members), step):
            yield members[start : start + step]


__all__ = ["Codec", "DamagedPayload", "Latents", "MaepressError", "Picture", "WrongModel"]
