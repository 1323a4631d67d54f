"""The codec: pictures to payloads and back.

    codec = Codec.load("base")
    payloads = codec.compress(pictures, quality=40)      # list[bytes], each a whole .mae file
    pictures = codec.decompress(payloads)

A codec is complete when it is loaded: there is nothing to update or compile. It decodes payloads of
its own model, on any device and with any number of threads, to the same symbols; pixels may differ
by a rounding step between devices.

A pipeline uses the two halves of `compress`: `analyse` runs the networks (on a GPU if there is one)
and returns small integers; `coder.encode` turns those into bytes, in other processes if necessary.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from model import checkpoint
from model.bitstream import alpha_codec, container
from model.bitstream.container import FRACTIONS, METADATA, Header, Tag
from model.bitstream.entropy_coder import EntropyCoder, Latents
from model.core.config import QUALITIES
from model.core.errors import DamagedPayload, MaepressError, UnsupportedImage, WrongModel
from model.core.picture import Picture
from model.core.reduction import FROM_PREFIX, box_reduced, denominator_of
from model.core.target import Target, rounded_down
from model.inference.decoder import Decoder, Sections
from model.inference.dequantising import dequantised
from model.inference.device_copies import Arrivals
from model.inference.encoder import Encoder
from model.inference.partial_decode import Prefix, PrefixReader
from model.inference.pixels import colour_of, latent_size
from model.inference.quantisation_pass import Metric, QuantisationPass, Quantised
from model.inference.reduced import prefix_pixels
from model.inference.refinement import Refinement
from model.inference.size_batches import in_size_batches, spans
from model.inference.tiling import TILE, Sides, sides_for
from model.layers.precision import best_dtype
from model.network.network import finalise
from model.rate_control.targeting import Targeting

Parsed = tuple[Header, Sections]
"""A payload's header and sections."""
Result = TypeVar("Result")
MAX_PIXELS = 1 << 31
"""Largest image that is encoded or decoded. A header with more is treated as damaged, before memory is allocated."""


class Codec:
    """Encodes and decodes with one model, at all 64 qualities.

    Attributes:
        fingerprint: 16 hex digits that name the model; every payload carries them.
        coder: the entropy coder, without torch, cheap to send to other processes.
    """

    def __init__(self, model: checkpoint.Checkpoint, device: str = "cpu", *, tile: int = TILE) -> None:
        """Prepare a loaded model for coding.

        Args:
            model: from `model.checkpoint.load`.
            device: where the networks run.
            tile: largest side, in latents, of the tiles in which images are processed; a multiple
                of 4. The result does not depend on it.
        """
        self.fingerprint = model.fingerprint
        self.coder = EntropyCoder(model.tables, model.fingerprint)
        self._network = model.network
        self._device = torch.device(device)
        self._tile = tile
        self._heads = model.heads
        self._distortion = model.distortion
        self._prefix_reader = PrefixReader(model.network, self.coder, self._device)
        finalise(self._network, best_dtype(self._device))

    @classmethod
    def load(cls, folder: str | Path = "base", *, device: str = "cpu") -> "Codec":
        """Load a codec from a local model folder, or a shipped one by its name ("base", "base-psnr").

        Raises:
            MaepressError: when the folder has no readable model.
        """
        return cls(checkpoint.load(folder, device), device)

    def compress(
        self, pictures: Sequence[Picture], quality: int | Target, *, metadata: bool = True, effort: int = 0
    ) -> list[bytes]:
        """Compress pictures.

        Args:
            pictures: of any sizes.
            quality: 0 (smallest) .. 63 (highest fidelity), or a target.
            metadata: store each picture's ICC profile, EXIF and XMP in its payload.
            effort: 0 (fastest) .. 3 (smallest files at the same fidelity).

        Returns:
            one payload per picture, in order.

        Raises:
            MaepressError: for a quality or effort out of range, or a target that the model cannot
                reach.
            UnsupportedImage: for more than `MAX_PIXELS`.
        """
        target = Target.of(quality)
        _check_size(pictures)

        def work(batch: list[int]) -> list[bytes]:
            some = [pictures[i] for i in batch]
            latents = self._analyse(some, target, check=False, effort=effort)
            return [self._payload(picture, x, target, metadata) for picture, x in zip(some, latents, strict=True)]

        return in_size_batches([latent_size(p.height, p.width) for p in pictures], work, self._device)

    def _payload(self, picture: Picture, latents: Latents, target: Target, metadata: bool) -> bytes:
        extra = {name: getattr(picture, name) for name in METADATA} if metadata else {}
        payload = self.coder.encode(latents, **extra)
        if not latents.met:
            without = len(payload) if not any(extra.values()) else len(self.coder.encode(latents))
            raise MaepressError(_unreachable(picture, target, latents, without))
        return payload

    def analyse(
        self,
        pictures: Sequence[Picture],
        target: int | Target,
        *,
        check: bool = True,
        also: Sequence[Metric] = (),
        effort: int = 0,
    ) -> list[Latents]:
        """Run the first half of `compress`: everything up to integers.

        Args:
            pictures: of any sizes; those of equal size in latents go through the networks together.
            target: a quality 0..63, or a floor or limit for each picture.
            check: also reconstruct what the decoder will output and measure its PSNR; always done
                for floors.
            also: metrics of the decoder's output to measure, whatever the target; needs `check`.
            effort: 0 (fastest) .. 3 (smallest files at the same fidelity).

        Returns:
            one `Latents` per picture, in order; `met` tells whether the target was reached. If it
            was not, the result is the nearest that the model can give.

        Raises:
            MaepressError: for a quality or effort out of range.
            UnsupportedImage: for more than `MAX_PIXELS`.
        """
        reach = Target.of(target)
        _check_size(pictures)
        if reach.quality is not None and self._device.type != "cpu" and not effort:
            return self._analyse_at_once(pictures, float(reach.quality), check, also)
        sizes = [latent_size(p.height, p.width) for p in pictures]

        def work(batch: list[int]) -> list[Latents]:
            return self._analyse([pictures[i] for i in batch], reach, check, also, effort)

        return in_size_batches(sizes, work, self._device)

    @torch.inference_mode()
    def _analyse(
        self, pictures: list[Picture], target: Target, check: bool, also: Sequence[Metric] = (), effort: int = 0
    ) -> list[Latents]:
        """Analyse pictures of one size in latents."""
        refine = Refinement.of(effort, "mse" if target.min_psnr is not None else self._distortion)
        encoder = Encoder(self._network, pictures, self._device, self._sides(pictures[0]))
        everyone = range(len(pictures))
        if target.quality is not None:
            qualities = [float(target.quality)] * len(pictures)
            made = encoder.quantise(everyone, qualities, check=check, also=also, refine=refine)
            return [self._latents(pictures[i], made[i]) for i in everyone]
        targeting = Targeting(target, self._gains, lambda p, made: self._size(self._latents(p, made)), also, refine)
        reached = targeting.reach(encoder, check=check)
        return [replace(self._latents(pictures[i], r.quantised), met=r.met) for i, r in enumerate(reached)]

    @torch.inference_mode()
    def _analyse_at_once(
        self, pictures: Sequence[Picture], quality: float, check: bool, also: Sequence[Metric]
    ) -> list[Latents]:
        """Analyse pictures at one quality on a GPU, which is given all of them before the host waits for it once."""
        sizes = [latent_size(p.height, p.width) for p in pictures]
        found: list[Latents] = []
        for span in spans(sizes):
            some, arrivals = pictures[span], Arrivals(self._device)

            def begin(
                batch: list[int], some: Sequence[Picture] = some, arrivals: Arrivals = arrivals
            ) -> list[tuple[QuantisationPass, int]]:
                mine = [some[i] for i in batch]
                encoder = Encoder(self._network, mine, self._device, self._sides(mine[0]), arrivals)
                one = encoder.begin(range(len(mine)), [quality] * len(mine), check=check, also=also)
                return [(one, i) for i in range(len(mine))]

            begun = in_size_batches(sizes[span], begin, self._device)
            done = {one: one.result() for one in dict.fromkeys(one for one, _ in begun)}
            found += [self._latents(picture, done[one][i]) for picture, (one, i) in zip(some, begun, strict=True)]
        return found

    @cached_property
    def _gains(self) -> NDArray[np.float32]:
        """Quantisation steps per unit of y at every quality, float32 `[QUALITIES, M]`."""
        return self._network.gain(torch.arange(QUALITIES, device=self._device))[:, 0, 0].cpu().numpy()

    def _size(self, latents: Latents) -> int:
        """Bytes of the payload; more than any limit if it cannot be coded."""
        try:
            return len(self.coder.encode(latents))
        except UnsupportedImage:
            return 1 << 62

    def _latents(self, picture: Picture, made: Quantised) -> Latents:
        quality, fraction = divmod(round(made.fine_quality * FRACTIONS), FRACTIONS)
        header = Header(self.fingerprint, picture.width, picture.height, quality, colour_of(picture), fraction)
        measured = made.psnr, made.ms_ssim, made.ssimulacra2
        return Latents(header, made.z, made.symbols, made.indices, picture.alpha, *measured)

    def decompress(self, payloads: Sequence[bytes], scale: float = 1) -> list[Picture]:
        """Decode payloads to pictures, in order.

        At a scale below 1 the pictures have `ceil(side * scale)` rows and columns, and samples are
        means of blocks (`model.core.reduction`), approximately: the synthesis is not run, and at
        1/16 only the beginning of the stream is read. A model without heads for it decodes whole
        pictures and reduces them. Metadata is as stored.

        Args:
            payloads: of this codec's model.
            scale: 1, 1/2, 1/4, 1/8 or 1/16.

        Raises:
            DamagedPayload: when a payload is damaged. At 1/16 the checksum of the bytes is compared,
                that of the integers is not.
            MaepressError: for another scale.
            WrongModel: when a payload is from another model.
        """
        denominator = denominator_of(scale)
        if denominator == FROM_PREFIX and denominator in self._heads:
            return self._from_prefixes(payloads)
        return self._in_batches(payloads, partial(self._decompress, denominator=denominator))

    @torch.inference_mode()
    def _from_prefixes(self, payloads: Sequence[bytes]) -> list[Picture]:
        parsed = [self._parse(p) for p in payloads]
        prefixes = self._prefix_reader.read(parsed)
        steps = self.quantisation_steps([header.fine_quality for header, _ in parsed]) if parsed else ()
        head = self._heads[FROM_PREFIX]
        colours = [prefix_pixels(head, prefix, step) for prefix, step in zip(prefixes, steps, strict=True)]
        return [_picture(*one, pixels, FROM_PREFIX) for one, pixels in zip(parsed, colours, strict=True)]

    def restore(self, payloads: Sequence[bytes]) -> list[Latents]:
        """Run the first half of `decompress`: payloads to the integers that were encoded, equal on every machine.

        Raises:
            DamagedPayload: when a payload is damaged.
            WrongModel: when a payload is from another model.
        """
        return self._in_batches(payloads, self._restore)

    def latents(self, payloads: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """Decode payloads to latents y, the input of the synthesis, float32 `[h, w, M]` each, in order.

        Raises:
            DamagedPayload: when a payload is damaged.
            WrongModel: when a payload is from another model.
        """
        return self._in_batches(payloads, self._dequantise)

    @torch.inference_mode()
    def quantisation_steps(self, qualities: Sequence[float]) -> NDArray[np.float32]:
        """Quantisation steps of the channels of y, float32 `[B, M]`, at B qualities with their fractions."""
        gain = self._network.gain(torch.tensor(qualities, dtype=torch.float32, device=self._device))
        return (1 / gain[:, 0, 0]).cpu().numpy()

    def prefixes(self, payloads: Sequence[bytes]) -> list[Prefix]:
        """Decode z and the symbols of the first pass alone, in order.

        Raises:
            DamagedPayload: when a payload is damaged.
            WrongModel: when a payload is from another model.
        """
        return self._prefix_reader.read([self._parse(p) for p in payloads])

    def hyper_latents(self, payloads: Sequence[bytes]) -> list[NDArray[np.int8]]:
        """Decode hyper-latents z alone, int8 `[ceil(h/4), ceil(w/4), Z]` each, in order.

        Raises:
            DamagedPayload: when a payload is damaged.
            WrongModel: when a payload is from another model.
        """
        return [self._prefix_reader.hyper_latents(*self._parse(p)) for p in payloads]

    def _in_batches(self, payloads: Sequence[bytes], decode: Callable[[list[Parsed]], list[Result]]) -> list[Result]:
        parsed = [self._parse(p) for p in payloads]
        sizes = [latent_size(h.height, h.width) for h, _ in parsed]
        return in_size_batches(sizes, lambda batch: decode([parsed[i] for i in batch]), self._device)

    def _parse(self, payload: bytes) -> Parsed:
        header, sections = container.read(payload)
        if header.fingerprint != self.fingerprint:
            raise WrongModel(
                f"the payload was encoded by model {header.fingerprint}, "
                f"this codec is model {self.fingerprint}: load that one"
            )
        stream = len(sections.get(Tag.STREAM, b""))
        if header.width * header.height > MAX_PIXELS or not self.coder.is_plausible(header, stream):
            raise DamagedPayload(
                f"{header.width}x{header.height} pixels cannot be in a payload of {len(payload)} bytes"
            )
        return header, sections

    def _decoder(self, parsed: list[Parsed]) -> Decoder:
        headers = [header for header, _ in parsed]
        return Decoder(self._network, self.coder, headers, self._device, self._sides(headers[0]), self._tile)

    def _sides(self, image: Picture | Header) -> Sides:
        """Sides of the tiles for an image, given the number of threads."""
        threads = torch.get_num_threads() if self._device.type == "cpu" else 1
        return sides_for(*latent_size(image.height, image.width), threads, self._tile)

    @torch.inference_mode()
    def _decompress(self, parsed: list[Parsed], denominator: int = 1) -> list[Picture]:
        """Decode payloads of one size in latents."""
        decoder = self._decoder(parsed)
        numbers = decoder.parse([sections for _, sections in parsed])
        if denominator in self._heads:
            colours = decoder.render_reduced(numbers, self._heads[denominator], denominator)
        else:
            colours = [box_reduced(pixels, denominator) for pixels in decoder.render(numbers)]
        return [_picture(*one, pixels, denominator) for one, pixels in zip(parsed, colours, strict=True)]

    @torch.inference_mode()
    def _restore(self, parsed: list[Parsed]) -> list[Latents]:
        """Decode payloads of one size in latents."""
        numbers = self._decoder(parsed).parse([sections for _, sections in parsed])
        return [replace(x, alpha=_alpha(*one)) for one, x in zip(parsed, numbers, strict=True)]

    @torch.inference_mode()
    def _dequantise(self, parsed: list[Parsed]) -> list[NDArray[np.float32]]:
        """Decode payloads of one size in latents."""
        numbers = self._decoder(parsed).parse([sections for _, sections in parsed])
        return dequantised(self._network, numbers, self._device, self._sides(parsed[0][0]))

    def verify(self, payload: bytes) -> Header:
        """Check a payload's checksum, structure and model without decoding it.

        Raises:
            DamagedPayload: when a payload is damaged.
            WrongModel: when a payload is from another model.
        """
        return self._parse(payload)[0]


def _check_size(pictures: Sequence[Picture]) -> None:
    for p in pictures:
        if p.width * p.height > MAX_PIXELS:
            raise UnsupportedImage(f"{p.width}x{p.height} pixels are more than {MAX_PIXELS}: cut the image into parts")


def _unreachable(picture: Picture, target: Target, nearest: Latents, size: int) -> str:
    """Message for a target that was not met."""
    name = f"{picture.width}x{picture.height} picture"
    if target.max_bpp is not None:
        least = 8 * size / (picture.width * picture.height)
        return f"the {name} takes at least {least:.4g} bits per pixel, more than {target.max_bpp:g}: allow more"
    measured = (
        (target.min_psnr, nearest.psnr, 2, " dB PSNR"),
        (target.min_ssimulacra2, nearest.ssimulacra2, 2, " SSIMULACRA2"),
        (target.min_ms_ssim, nearest.ms_ssim, 5, " MS-SSIM"),
    )
    goal, reached, digits, unit = next(one for one in measured if one[0] is not None)
    assert reached is not None  # it was searched for
    return f"the {name} reaches at most {rounded_down(reached, digits)}{unit}, not {goal:g}: ask for less"


def _alpha(header: Header, sections: Sections) -> NDArray[np.uint8] | None:
    return alpha_codec.read(sections[Tag.ALPHA], header.height, header.width) if Tag.ALPHA in sections else None


def _picture(header: Header, sections: Sections, pixels: NDArray[np.uint8], denominator: int) -> Picture:
    metadata = {name: sections.get(tag, b"") for name, tag in METADATA.items()}
    alpha = _alpha(header, sections)
    return Picture(pixels, None if alpha is None else box_reduced(alpha, denominator), **metadata)


__all__ = ["Codec", "DamagedPayload", "Latents", "MaepressError", "Picture", "Target", "WrongModel"]
