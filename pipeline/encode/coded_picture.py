"""The payload of one picture: by the model, or by whichever of the allowed codecs is smallest at the target.

    allowed codecs        without a limit of size          with --max-bpp
    one                   its payload                      its payload
    several               the smallest                     that of the highest SSIMULACRA2

A floor is the same for all. A quality is one of the model: a standard codec has to give at least the
SSIMULACRA2 that the model gives at it. Alpha is coded without loss in all of them.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from model.bitstream import alpha_codec
from model.bitstream.container import Colour
from model.bitstream.entropy_coder import EntropyCoder, Latents
from model.core.boundary import Fault, attempt
from model.core.errors import MissingPackage, UnsupportedImage
from model.core.picture import Picture
from model.core.target import Target
from model.rate_control.goal import Goal
from pipeline.archive import standard_payload
from pipeline.archive.schema import LATENT, MISSED, STANDARD, UNLIKE
from pipeline.encode.default_floor import default_floor
from pipeline.encode.standard_search import Trial, search
from pipeline.images.formats.codec_names import MAE


@dataclass(frozen=True, slots=True)
class Coded:
    """A payload that meets the target, and the columns of its row: status, codec, quality, fidelity."""

    payload: bytes = field(repr=False)
    columns: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """All columns that depend on how the picture was coded."""
        return self.columns | {"payload": self.payload, "payload_bytes": len(self.payload)}


@dataclass(frozen=True, slots=True)
class Choice:
    """The outcome for one picture.

    Attributes:
        coded: the payload, None where no allowed codec meets the target.
        why_not: the reason in that case, a value of the column `kept`.
    """

    coded: Coded | None
    why_not: str | None = None


def choose(
    picture: Picture | None, latents: Latents | None, coder: EntropyCoder | None, target: Target, codecs: Sequence[str]
) -> Choice:
    """The payload of a picture, for which at least one of `picture` and `latents` is needed.

    Args:
        picture: its pixels, for standard codecs.
        latents: what the model makes of it, for the model and for a target that is a quality.
        coder: the model's entropy coder, with latents.
        target: to meet.
        codecs: those allowed, of `pipeline.images.formats.codec_names.CODECS`.

    Raises:
        MissingPackage: when the encoder of an allowed codec is not installed.
        MemoryError: when the machine has too little for an encoder.
    """
    if latents is not None and _is_unlike(latents, target):
        return Choice(None, UNLIKE)
    found: list[Coded] = []
    if MAE in codecs and latents is not None and coder is not None and (own := _by_model(latents, coder)) is not None:
        found.append(own)
    if picture is not None and (goal := _goal(picture, latents, target)) is not None:
        found += _by_standard(picture, goal, [name for name in codecs if name != MAE], found)
    if not found:
        return Choice(None, MISSED)
    if target.max_bpp is not None and len(codecs) > 1:
        return Choice(max(found, key=lambda coded: coded.columns["ssimulacra2"] or 0.0))
    return Choice(min(found, key=lambda coded: len(coded.payload)))


def _by_model(latents: Latents, coder: EntropyCoder) -> Coded | None:
    """None where the model misses the target, or where readers would not accept the payload."""
    try:
        payload = coder.encode(latents) if latents.met else b""
    except UnsupportedImage:
        payload = b""
    if not payload:
        return None
    columns = {
        "status": LATENT,
        "codec": MAE,
        "model": coder.fingerprint,
        "quality": latents.header.fine_quality,
        "psnr": latents.psnr,
        "ms_ssim": latents.ms_ssim,
        "ssimulacra2": latents.ssimulacra2,
    }
    return Coded(payload, columns)


def _by_standard(picture: Picture, goal: Goal, names: Sequence[str], before: Sequence[Coded]) -> list[Coded]:
    """The payloads of standard codecs, without those that would not be smaller than one before them."""
    alpha = b"" if picture.alpha is None or not names else alpha_codec.write(picture.alpha)
    colour = Colour.GREY if picture.pixels.shape[2] == 1 else Colour.RGB
    besides = len(standard_payload.sealed(b"", alpha, colour))
    found: list[Coded] = []
    for name in names:
        sizes = [len(coded.payload) for coded in (*before, *found)]
        beat = min(sizes) if sizes and goal.is_floor else None
        look = functools.partial(
            search, name, picture.pixels, goal, beat=beat, besides=besides, score=not goal.is_floor
        )
        done = attempt(look, passes=(MissingPackage, MemoryError))
        if not isinstance(done, Fault) and done.best is not None:  # a picture that an encoder refuses has others
            found.append(_coded(done.best, alpha, colour))
    return found


def _coded(trial: Trial, alpha: bytes, colour: Colour) -> Coded:
    columns = {
        "status": STANDARD,
        "codec": trial.codec,
        "quality": trial.quality,
        "psnr": trial.psnr,
        "ms_ssim": trial.ms_ssim,
        "ssimulacra2": trial.ssimulacra2,
    }
    return Coded(standard_payload.sealed(trial.file, alpha, colour), columns)


def _goal(picture: Picture, latents: Latents | None, target: Target) -> Goal | None:
    """What a standard codec has to meet; None for a quality at which nothing was measured."""
    if target.quality is None:
        return Goal.of(target, picture.width * picture.height)
    if latents is None or latents.ssimulacra2 is None:
        return None
    return Goal.of_ssimulacra2(latents.ssimulacra2)


def _is_unlike(latents: Latents, target: Target) -> bool:
    """Whether the result is far below what its quality gives on photographs; not if another target was asked for."""
    psnr = latents.psnr
    return target.quality is not None and latents.met and psnr is not None and psnr < default_floor(target.quality)
